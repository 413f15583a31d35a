"""The two committed CSVs and the program that makes them from a seed."""
