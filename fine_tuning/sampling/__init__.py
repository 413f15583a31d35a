"""Generate answers, score them, and validate a model."""
