"""Check a local model folder without importing torch."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fine_tuning.run.hub import missing_shards


def folder_problems(folder: Path) -> list[str]:
    """What is wrong with a model folder: files that are missing or broken, weights in another form or cut off, code or
    an adapter beside the weights.
    """
    if not folder.is_dir():
        return ["there is no such folder"]
    weights = sorted(folder.glob("*.safetensors"))
    return [*_file_problems(folder, bool(weights)), *_config_problems(folder), *_weight_problems(weights)]


def _file_problems(folder: Path, has_weights: bool) -> Iterator[str]:
    if not (folder / "config.json").exists():
        yield "the folder has no config.json"
    if not (folder / "tokenizer.json").exists():
        yield "the folder has no tokenizer.json" + (
            f", only tokenizer.model. To make one (needs sentencepiece): {_resave('AutoTokenizer', folder)}"
            if (folder / "tokenizer.model").exists()
            else ""
        )
    if not has_weights:
        yield (
            "the folder has weights only as *.bin, which are not read: they can contain code. To convert them: "
            f"{_resave('AutoModelForCausalLM', folder)}"
            if any(folder.glob("*.bin"))
            else "the folder has no weights (*.safetensors)"
        )
    index = folder / "model.safetensors.index.json"
    if has_weights and index.exists() and (missing := missing_shards(index)):
        yield f"weights are missing or their index cannot be read: {missing[0]}. Download the model again"
    if (folder / "adapter_config.json").exists():
        yield (
            "the folder has an adapter_config.json, so transformers would add that adapter to the weights without a "
            "word. Merge the adapter into the weights, or move adapter_config.json out of the folder if it is merged"
        )


def _config_problems(folder: Path) -> Iterator[str]:
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            continue
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
        except (ValueError, RecursionError) as error:
            yield f"{name} is not valid JSON ({str(error).splitlines()[0]}). Download it again"
        else:
            if not isinstance(config, dict):
                yield f"{name} is not a JSON object. Download it again"
            elif config.get("auto_map"):
                yield f"{name} asks for the model's own code (auto_map), which is not run. Choose another model"


def _resave(auto_class: str, folder: Path) -> str:
    """A command that makes transformers read files of a folder and write them in its current form."""
    path = str(folder)
    code = f"from transformers import {auto_class} as A; A.from_pretrained({path!r}).save_pretrained({path!r})"
    return shlex.join(["python", "-c", code])


def _weight_problems(weights: list[Path]) -> Iterator[str]:
    for path in weights:
        try:
            with open(path, "rb"), safe_open(path, framework="numpy"):  # compares the size with the header
                pass
        except OSError as error:
            yield f"{path.name} cannot be read: {error.strerror}"
        except SafetensorError:
            yield f"{path.name} is cut off or only a Git LFS pointer. Download it again, or run: git lfs pull"
