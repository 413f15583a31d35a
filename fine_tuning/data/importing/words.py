"""Words in cells, in lower case, and what they mean."""

SPLITS = {
    "": "",
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
ENDED = {
    "": "",
    **dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), "true"),
    **dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), "false"),
}
