"""The two committed CSVs and the program that generates them from a seed."""
