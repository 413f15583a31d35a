"""Write the tuned model as one folder that other programs load: merged weights, or GGUF files."""
