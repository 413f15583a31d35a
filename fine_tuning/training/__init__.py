"""Trainers, ORPO's loss, adapters, checkpoints and memory."""
