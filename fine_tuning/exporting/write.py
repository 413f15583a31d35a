"""Write an export of a merged model into a folder."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.prompt_frame import FRAME_FILE
from fine_tuning.exporting.card import gguf_card, merged_card
from fine_tuning.exporting.gguf_model import gguf_model
from fine_tuning.exporting.gguf_tokenizer import vocabulary
from fine_tuning.exporting.merged import save_merged
from fine_tuning.exporting.ollama import modelfile
from fine_tuning.exporting.plan import Plan
from fine_tuning.run.files import write_atomically


def write_export(
    plan: Plan, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, context: int, longest: int
) -> None:
    """Write all files of an export but its card. `context` and `longest` are numbers of tokens: of prompt and answer
    together, and of the answer.

    Raises UserError if the model cannot be written in this format.
    """
    if plan.format == "merged":
        save_merged(model, tokenizer, folder)
    else:
        files = _write_gguf(plan, model, tokenizer, folder)
        limit = min(context, model.config.max_position_embeddings)
        # The last file is the smaller one.
        text = modelfile(tokenizer, files[-1], plan.frame, limit, longest)
        write_atomically(folder / "Modelfile", text)
    write_atomically(folder / FRAME_FILE, plan.frame.to_json())


def write_card(plan: Plan, folder: Path, compared: Sequence[str]) -> None:
    """Write the card of an export. `compared` says how it was compared with base model and adapter, line by line."""
    if plan.format == "merged":
        dtype = json.loads((folder / "config.json").read_text(encoding="utf-8"))["dtype"]
        card = merged_card(plan, dtype, compared)
    else:
        card = gguf_card(plan, min(folder.glob("*.gguf"), key=lambda file: file.stat().st_size).name, compared)
    write_atomically(folder / "README.md", card)


def _write_gguf(plan: Plan, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """Write the GGUF files, and return their names."""
    from fine_tuning.exporting.gguf_file import write_gguf  # needs the optional package gguf

    rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]  # an embedding
    settings, tokens = gguf_model(model.config.to_dict(), rows), vocabulary(tokenizer, rows)
    name = re.sub(r"[^\w.-]+", "-", plan.options.model_name.rpartition("/")[2]) + "-diagrams"
    files = [f"{name}-{quantization}.gguf" for quantization in plan.quantizations]
    for file, quantization in zip(files, plan.quantizations, strict=True):
        write_gguf(folder / file, name, model, settings, tokens, quantization)
    return files
