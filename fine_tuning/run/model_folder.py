"""Check a local model folder without importing torch."""

from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open


def folder_problems(folder: Path) -> list[str]:
    """What is wrong with a model folder: missing files, and weights that are cut off or only a Git LFS pointer."""
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
            with open(path, "rb"), safe_open(path, framework="numpy"):  # compares the size with the header
                pass
        except OSError as error:
            yield f"{path.name} cannot be read: {error.strerror}"
        except SafetensorError:
            yield f"{path.name} is cut off or only a Git LFS pointer. Download it again, or run: git lfs pull"
