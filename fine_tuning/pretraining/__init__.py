"""The programs that built the embedded model."""
