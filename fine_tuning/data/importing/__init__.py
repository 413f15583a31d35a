"""Read other people's files: tables of any kind become the rows of the two CSVs."""
