"""What an export is made from, and whether it can be made: checked before torch is imported."""

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.exporting.base_files import base_folder, count_weights, read_json
from fine_tuning.exporting.gguf_model import check_family
from fine_tuning.exporting.pre_tokenizer import pre_tokenizer_name
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.model_check import has_cuda_device
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import ADAPTER_FILE, RunState
from fine_tuning.run.verdict import stored_verdict

FORMATS = ("merged", "gguf")
QUANTIZATIONS = {"f16": ("f16",), "q8_0": ("q8_0",), "both": ("f16", "q8_0")}  # by the value of --quantize
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "f16": 2.0, "q8_0": 34 / 32}  # of a weight
SMALL_FILES = 2**24  # bytes, more than tokenizer and configuration take
GGUF_PACKAGE = "gguf==0.19.0"


@dataclass(frozen=True, slots=True)
class Plan:
    """One export.

    options       the run's options: its dtype, and never 4 bits, because an adapter cannot be merged into those
    adapter       the folder of the adapter
    format        `merged` or `gguf`
    quantize      for GGUF: `f16`, `q8_0` or `both`
    frame         the text around the request in every prompt
    was_4bit      True if the adapter was trained on a base model in 4 bits
    verdict       how good the adapter's answers were at the end of its training, line by line
    """

    options: Options
    adapter: Path
    format: str
    quantize: str
    frame: PromptFrame
    was_4bit: bool
    verdict: Sequence[str] = ()

    @property
    def quantizations(self) -> tuple[str, ...]:
        """The GGUF files to write, by quantization."""
        return QUANTIZATIONS[self.quantize]

    def facts(self) -> dict[str, Any]:
        """What decides the export's content; an export with the same facts need not be made again."""
        facts: dict[str, Any] = {"format": self.format, "adapter sha256": sha256(self.adapter / ADAPTER_FILE)}
        facts |= {
            name: value
            for name, value in self.options.settings().items()
            if name in ("model", "revision", "model files", "dtype")
        }
        if self.format == "gguf":
            facts["quantize"] = self.quantize
        return facts | {"frame": asdict(self.frame)}

    def check(self, output: Path) -> None:
        """Raise UserError with every reason why the base model cannot be exported to `output`."""
        checks, base = Checks(), base_folder(self.options)
        config, tokenizer = read_json(base, "config.json"), read_json(base, "tokenizer.json")
        if config is not None and config.get("quantization_config"):
            with checks:
                raise UserError(
                    f"--model {self.options.model}: its weights are quantized, so no adapter can be merged into them. "
                    "Train and export with the original model"
                )
        if self.format == "gguf":
            with checks:
                if importlib.util.find_spec("gguf") is None:
                    raise UserError(f"--to gguf needs the package gguf: python -m pip install {GGUF_PACKAGE}")
            with checks:
                check_family(config or {"model_type": "llama"})
            with checks:
                if tokenizer is not None:
                    pre_tokenizer_name(tokenizer)
        with checks:
            self._check_space(output, count_weights(base))
        checks.finish()

    def _check_space(self, output: Path, weights: int) -> None:
        """An earlier export is deleted last, so a new one needs its whole size. `weights` is 0 if unknown."""
        dtype = self.options.dtype if self.options.dtype != "auto" else "float16" if has_cuda_device() else "float32"
        kinds = self.quantizations if self.format == "gguf" else (dtype,)
        needed = weights * sum(BYTES[kind] for kind in kinds) + SMALL_FILES
        place = next(path for path in (output, *output.parents) if os.path.lexists(path))
        free = shutil.disk_usage(place).free
        if weights and free < needed:
            raise UserError(
                f"--output {output}: the export needs {_size(needed)} and {_size(free)} are free there. Free some "
                "space, or name a folder on another drive"
            )


def make_plan(options: Options, adapter: Path, format: str, quantize: str | None, frame: PromptFrame) -> Plan:
    """The export of an adapter, with the dtype of its run."""
    stored = RunState(adapter).read() or {"settings": {}, "figures": None}
    run: Mapping[str, Any] = stored["settings"]
    dtype = options.dtype if options.dtype != "auto" else run.get("dtype", "auto")
    return Plan(
        replace(options, dtype=dtype if dtype in BYTES else "auto", load_in_4bit=False),
        adapter,
        format,
        quantize or "both",
        frame,
        bool(run.get("load in 4 bits")),
        stored_verdict(stored["figures"]),
    )


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
