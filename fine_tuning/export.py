"""Export the tuned model for other programs: the adapter merged into the base model, in one folder.

    python fine_tuning/export.py --model embedded --workspace demo --to merged     # for transformers
    python fine_tuning/export.py --to gguf                                         # for llama.cpp and Ollama

Uses the adapter of step 3 or, if step 3 has not finished, that of step 1.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fine_tuning.common import run, tuned_model
from fine_tuning.data.prompt_frame import stored_frame
from fine_tuning.exporting.plan import FORMATS, QUANTIZATIONS, make_plan
from fine_tuning.exporting.target import check_target, files_of, is_exported, new_export
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import printable
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.model_check import check_download, check_model
from fine_tuning.run.options import make_parser, set_environment, to_options, user_path
from fine_tuning.run.step_order import check_step_1, check_tokenizer, latest_adapter
from fine_tuning.run.step_preset import preset_after_step_1
from fine_tuning.sampling.batches import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONTEXT = 4096  # tokens of prompt and answer for Ollama, whose own default may be too small


def main() -> None:
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
    if is_exported(output, facts):
        print(f"the export is done: {output}. To make it again, delete that folder")
        print(json.dumps({"export": str(output), "files": files_of(output)}))
        return
    plan.check(output)
    check_download(options)
    if plan.was_4bit or options.load_in_4bit:
        print("note: the adapter is merged into the original weights, not into 4-bit ones", file=sys.stderr)
    for line in (taken_over, note and f"note: {note}"):
        if line:
            print(printable(line), file=sys.stderr)

    from fine_tuning.exporting.write import write_export
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.training.model_probe import probe

    # 2. Merge the adapter into the base model, as ask.py does.
    probed = probe(plan.options, preset)
    check_tokenizer(options, probed.settings)
    model = cast("PreTrainedModel", merge_for_generation(tuned_model(plan.options, preset, adapter)))

    # 3. Write the export beside its place, then put it there as a whole.
    with new_export(output, facts) as folder:
        write_export(plan, model, probed.tokenizer, folder, CONTEXT, MAX_NEW_TOKENS)
    print(f"exported the adapter in {adapter}: {output}")
    print(json.dumps({"export": str(output), "files": files_of(output)}))


if __name__ == "__main__":
    run(main)
