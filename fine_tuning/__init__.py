"""The three training scripts and what they share."""
