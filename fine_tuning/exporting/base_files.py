"""What the base model's files say before torch is imported: configuration, tokenizer and number of weights."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fine_tuning.run.hub import cached_snapshot
from fine_tuning.run.options import Options


def base_folder(options: Options) -> Path | None:
    """The folder of the base model's files; None for a hub model that is not in the cache yet."""
    folder = Path(options.model_source)
    if folder.is_dir():
        return folder
    snapshot = cached_snapshot(options.model, options.revision)
    return snapshot if snapshot.is_dir() else None


def read_json(folder: Path | None, name: str) -> dict[str, Any] | None:
    """A JSON file of the base model; None if it is missing or damaged. Loading the model reports that."""
    if folder is None:
        return None
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def count_weights(folder: Path | None) -> int:
    """The number of weights in the base model's files; 0 if it is unknown."""
    total = 0
    for path in folder.glob("*.safetensors") if folder else ():
        try:
            with safe_open(path, framework="numpy") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError):
            return 0
    return total
