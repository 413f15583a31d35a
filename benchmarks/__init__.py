"""A command for each claim that this project makes about itself."""
