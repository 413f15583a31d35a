"""What keeps a local model folder from being loaded, told without torch, at once and in words."""

import json
from collections.abc import Iterator
from pathlib import Path

LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header, little-endian
MAX_HEADER = 100_000_000  # bytes; the format's own limit


def folder_problems(folder: Path) -> list[str]:
    """Files that are missing, and weights that are cut off or only a pointer to weights."""
    if not folder.is_dir():
        return ["there is no such folder"]
    missing = [
        f"the folder has no {name}" for name in ("config.json", "tokenizer.json") if not (folder / name).exists()
    ]
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        missing.append("the folder has no weights (*.safetensors)")
    return [*missing, *_weight_problems(weights)]


def _weight_problems(weights: list[Path]) -> Iterator[str]:
    for path in weights:
        try:
            is_whole = path.stat().st_size == _size_by_header(path)
        except OSError as error:
            yield f"{path.name} cannot be read: {error.strerror}"
            continue
        if not is_whole:
            yield f"{path.name} is cut off, or only a pointer to the weights (git lfs pull gets them). Get it again"


def _size_by_header(path: Path) -> int | None:
    """How many bytes a safetensors file has by its own header; None where it has no such header."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if length > MAX_HEADER:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            return LENGTH_BYTES + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return None
