"""Rows, the split, tokens and preference pairs."""
