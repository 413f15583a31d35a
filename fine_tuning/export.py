"""Export the tuned model for other programs: the adapter merged into the base model, in one folder.

    python fine_tuning/export.py --model embedded --workspace demo --to merged     # for transformers
    python fine_tuning/export.py --to gguf                                         # for llama.cpp and Ollama

Uses the adapter of step 3 or, if step 3 has not finished, that of step 1. What it has written must answer held-out
prompts as base model and adapter do; otherwise nothing is exported.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fine_tuning.common import run, tuned_model
from fine_tuning.data.prompt_frame import stored_frame
from fine_tuning.exporting.alike import PROMPTS
from fine_tuning.exporting.held_out import can_be_compared_now, to_compare
from fine_tuning.exporting.plan import FORMATS, QUANTIZATIONS, make_plan
from fine_tuning.exporting.target import check_target, comparison_of, files_of, is_exported, new_export
from fine_tuning.run.command_line import make_parser, to_options, user_path, whole_number
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import printable
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.model_check import check_download, check_model
from fine_tuning.run.options import set_environment
from fine_tuning.run.processes import refuse_several
from fine_tuning.run.step_order import check_step_1, check_tokenizer, latest_adapter
from fine_tuning.run.step_preset import preset_after_step_1
from fine_tuning.sampling.batches import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_PROMPTS = 1000  # to compare
CONTEXT = 4096  # tokens of prompt and answer for Ollama, whose own default may be too small


def main() -> None:
    refuse_several()

    # 1. Read the command line. All problems are reported together, before torch is imported.
    parser = make_parser(__doc__, is_step=False)
    parser.add_argument(
        "--to",
        choices=FORMATS,
        required=True,
        help="merged: a folder for transformers (safetensors); gguf: files for llama.cpp and Ollama",
    )
    parser.add_argument(
        "--quantize",
        choices=tuple(QUANTIZATIONS),
        help="for --to gguf: weights in 16 bits (f16), in 8 bits (q8_0), or a file of each (both, the default)",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        help="the folder to write. An earlier export in it is replaced (default: models/merged or models/gguf in the "
        "workspace)",
    )
    parser.add_argument(
        "--compare",
        type=whole_number(0, MAX_PROMPTS),
        default=PROMPTS,
        metavar="N",
        help="compare the answers to N held-out prompts with those of base model and adapter; 0: compare nothing "
        f"(default: {PROMPTS}). For --to gguf, this needs the package xllamacpp",
    )
    args = parser.parse_args(flags())
    options = to_options(args)
    set_environment(options)
    output: Path = (args.output or options.workspace.root / "models" / args.to).resolve()
    checks = Checks()
    with checks:
        if args.quantize and args.to != "gguf":
            raise UserError("--quantize: only --to gguf takes this")
    with checks:
        check_model(replace(options, load_in_4bit=False))
    with checks:
        check_step_1(options)
    with checks:
        preset, taken_over = preset_after_step_1(options)
    with checks:
        check_target(output)
    checks.finish()
    options.workspace.claim()
    adapter = latest_adapter(options)
    frame, note = stored_frame(adapter, options)
    plan = make_plan(options, adapter, args.to, args.quantize, frame)
    facts = plan.facts()
    held_out, not_compared = to_compare(options, adapter, args.to, args.compare)
    if is_exported(output, facts):
        compared = comparison_of(output)
        if not_compared or not can_be_compared_now(compared.get("not compared", "")):
            print(f"the export is done: {output}. To make it again, delete that folder")
            print(json.dumps({"export": str(output), "files": files_of(output)} | compared))
            return
        print(f"{output}: this export has not been compared yet, so it is made again")
    plan.check(output)
    check_download(options)
    if plan.was_4bit or options.load_in_4bit:
        print("note: the adapter is merged into the original weights, not into 4-bit ones", file=sys.stderr)
    for line in (taken_over, note and f"note: {note}"):
        if line:
            print(printable(line), file=sys.stderr)

    from fine_tuning.exporting.compare import Examiner
    from fine_tuning.exporting.write import write_card, write_export
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.training.model_probe import probe

    # 2. Ask base model and adapter. Then merge the adapter into the base model, as ask.py does.
    probed = probe(plan.options, preset)
    check_tokenizer(options, probed.settings)
    tuned = tuned_model(plan.options, preset, adapter)
    examiner = Examiner(held_out, not_compared)
    examiner.ask(tuned, probed.tokenizer)
    model = cast("PreTrainedModel", merge_for_generation(tuned))

    # 3. Write the export beside its place, and ask it. If it answers alike, put it there as a whole.
    compared = {}
    with new_export(output, facts, compared) as folder:
        write_export(plan, model, probed.tokenizer, folder, CONTEXT, MAX_NEW_TOKENS)
        del model, tuned  # frees their memory
        examiner.compare(folder, probed.tokenizer)
        write_card(plan, folder, examiner.verdict.lines())
        compared |= examiner.verdict.figures()
    for line in examiner.verdict.lines():
        print(printable(line))
    print(f"exported the adapter in {adapter}: {output}")
    print(json.dumps({"export": str(output), "files": files_of(output)} | compared))


if __name__ == "__main__":
    run(main)
