"""The architecture of deepseek-coder-1.3b-instruct, written out so that measuring it needs no download."""

# Tokens of the committed rows under its tokenizer.
MEAN_PROMPT, MEAN_ANSWER = 240, 546

REAL_ARCHITECTURE = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5504,
    "vocab_size": 32256,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0},
}
