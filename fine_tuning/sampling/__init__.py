"""Generate answers and validate a model."""
