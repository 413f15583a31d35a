"""The programs that made the embedded model."""
