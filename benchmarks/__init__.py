"""Benchmarks: one command for each claim of this project."""
