"""Base model, adapters, trainers, ORPO's loss, checkpoints and memory."""
