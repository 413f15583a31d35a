"""A command for each claim about memory and speed, measured beside what a user would otherwise run."""
