"""Check a local model folder without importing torch."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fine_tuning.run.hub import missing_shards

EIGHT_BITS_OR_LESS = ("I8", "U8", "F8", "F6", "F4")  # the names of dtypes in safetensors begin so
# Small files that transformers reads if they are there.
JSON_FILES = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def folder_problems(folder: Path) -> list[str]:
    """What is wrong with a model folder: files that are missing or broken, weights in another form or cut off, code or
    an adapter beside the weights.
    """
    if not folder.is_dir():
        return ["there is no such folder"]
    weights = sorted(folder.glob("*.safetensors"))
    return [
        *_file_problems(folder, bool(weights)),
        *_config_problems(folder),
        *_text_problems(folder),
        *_weight_problems(weights),
    ]


def quantization_problem(config: Any) -> str:
    """Why weights that are stored quantised cannot be trained; empty if config.json does not say that they are."""
    if config is None:
        return ""
    method = config.get("quant_method") if isinstance(config, dict) else None
    return (
        f"the weights are quantised ({method or 'quantization_config in config.json'}), and an adapter on them cannot "
        "be merged exactly. Choose the model with unquantised weights; --load-in-4bit loads them in 4 bits"
    )


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
    if has_weights and not index.exists() and not (folder / "model.safetensors").exists():
        yield (
            "the folder has weights (*.safetensors), but neither model.safetensors nor model.safetensors.index.json, "
            "which names the files that belong together. Download the model again"
        )
    if has_weights and index.exists() and (missing := missing_shards(index)):
        yield f"weights are missing or their index cannot be read: {missing[0]}. Download the model again"
    if (folder / "adapter_config.json").exists():
        yield (
            "the folder has an adapter_config.json, so transformers would add that adapter to the weights without a "
            "word. Merge the adapter into the weights, or move adapter_config.json out of the folder if it is merged"
        )


def _config_problems(folder: Path) -> Iterator[str]:
    for name in JSON_FILES:
        if not (folder / name).exists():
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
            elif name == "config.json" and (problem := quantization_problem(config.get("quantization_config"))):
                yield problem


def _text_problems(folder: Path) -> Iterator[str]:
    """Files whose bytes are hashed or read as text later."""
    checked = {*JSON_FILES, "model.safetensors.index.json"}
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*/*.jinja")]):
        if path.name in checked:
            continue
        try:
            with open(path, encoding="utf-8") as file:
                for _ in iter(lambda: file.read(2**20), ""):
                    pass
        except OSError as error:
            yield f"{path.relative_to(folder)} cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            yield f"{path.relative_to(folder)} is not UTF-8 text. Download it again"


def _resave(auto_class: str, folder: Path) -> str:
    """A command that makes transformers read files of a folder and write them in its current form."""
    path = str(folder)
    code = f"from transformers import {auto_class} as A; A.from_pretrained({path!r}).save_pretrained({path!r})"
    return shlex.join(["python", "-c", code])


def _weight_problems(weights: list[Path]) -> Iterator[str]:
    for path in weights:
        try:
            with open(path, "rb"), safe_open(path, framework="numpy") as file:  # compares the size with the header
                names = file.keys()
                kinds = {name: file.get_slice(name).get_dtype() for name in names}
        except OSError as error:
            yield f"{path.name} cannot be read: {error.strerror}"
        except SafetensorError:
            yield f"{path.name} is cut off or only a Git LFS pointer. Download it again, or run: git lfs pull"
        else:
            if quantised := [name for name, kind in kinds.items() if kind.startswith(EIGHT_BITS_OR_LESS)]:
                yield f"{path.name}: {quantization_problem({'quant_method': f'such as {quantised[0]}'})}"
