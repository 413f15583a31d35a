"""Base model, adapters, trainers, the ORPO loss, checkpoints and memory."""
