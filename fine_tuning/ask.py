"""Ask the tuned model for a diagram. Prints the text of its answer and draws it.

    python fine_tuning/ask.py "a neural network with 3 inputs, a hidden layer of 4 nodes and 1 output, neuron by neuron"
    python fine_tuning/ask.py --model embedded --workspace demo --output net.svg "Flowchart: sales data -> price model"

The ending of --output decides the kind of picture: .png, .svg, or .drawio to edit it by hand in draw.io.

Puts around your request what your training data has around every request. Uses the adapter of step 3 or, if step 3 has
not finished, that of step 1.
"""

import sys
from pathlib import Path

from diagram.pictures import SUFFIXES, picture_bytes
from fine_tuning.common import run, tuned_model
from fine_tuning.data.prompt_frame import stored_frame
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import printable
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.files import sha256, write_atomically
from fine_tuning.run.model_check import check_download, check_model
from fine_tuning.run.options import Options, make_parser, set_environment, to_options, user_path
from fine_tuning.run.run_state import ADAPTER_FILE, RunState
from fine_tuning.run.step_order import check_step_1, check_tokenizer
from fine_tuning.run.step_preset import preset_after_step_1

MAX_NEW_TOKENS = 1280
ENDINGS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def main() -> None:
    # 1. Read the command line. All problems are reported together, before torch is imported.
    parser = make_parser(__doc__, is_step=False)
    parser.add_argument("request", help="what to draw, in English")
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("diagram.png"),
        help=f"the picture, a {ENDINGS} file (default: diagram.png)",
    )
    parser.add_argument(
        "--grammar",
        action="store_true",
        help="hold the answer to the diagram language while it is generated: it then has no problem in its text",
    )
    args = parser.parse_args(flags())
    options = to_options(args)
    set_environment(options)
    checks = Checks()
    with checks:
        check_model(options)
    with checks:
        check_step_1(options)
    with checks:
        preset, taken_over = preset_after_step_1(options)
    with checks:
        check_request(args.request)
    with checks:
        check_output(args.output)
    checks.finish()
    check_download(options)
    folder = latest_adapter(options)
    frame, note = stored_frame(folder, options)
    for line in (taken_over, note and f"note: {note}"):
        if line:
            print(printable(line), file=sys.stderr)

    from diagram import parse
    from fine_tuning.data.tokens import encode_prompt
    from fine_tuning.sampling.generation import generate_batch, merge_for_generation
    from fine_tuning.sampling.grammar import DiagramGrammar
    from fine_tuning.training.model_probe import probe

    # 2. The prompt is the request in the frame of the prompts that the model was trained on.
    probed = probe(options, preset)
    check_tokenizer(options, probed.settings)
    tokenizer = probed.tokenizer
    prompt = encode_prompt(tokenizer, frame.prompt_of(args.request))
    grammar = DiagramGrammar(tokenizer) if args.grammar else None

    # 3. Generate the answer with greedy decoding, and draw it.
    model = merge_for_generation(tuned_model(options, preset, folder))
    (answer,) = generate_batch(model, tokenizer, [prompt], MAX_NEW_TOKENS, 0, options.seed, grammar)
    diagram = parse(answer.text)
    try:
        write_atomically(args.output, picture_bytes(diagram, args.output.suffix))
    finally:  # print the answer even if the disk is full
        print(printable(answer.text))
    for problem in diagram.problems:
        print(f"note: {printable(str(problem))}", file=sys.stderr)
    print(f"drawn with the adapter in {folder}: {args.output}", file=sys.stderr)


def check_request(request: str) -> None:
    """Raise UserError if the request is empty."""
    if not request.strip():
        raise UserError("the request is empty. Say what to draw")


def check_output(path: Path) -> None:
    """Raise UserError if no picture can be written to `path`."""
    if path.is_dir():
        raise UserError(f"--output {path}: this is a folder. Give the name of a {ENDINGS} file")
    problems = []
    if not path.resolve().parent.is_dir():
        problems.append(f"--output {path}: there is no such folder")
    if path.suffix.lower() not in SUFFIXES:
        problems.append(f"--output {path}: no picture of this kind can be drawn. Give it a name that ends in {ENDINGS}")
    if problems:
        raise UserError(*problems)


def latest_adapter(options: Options) -> Path:
    """The folder of step 3's adapter, or step 1's if step 3 has not finished or began from an older step 1."""
    sft, orpo = options.workspace.sft_model, RunState(options.workspace.orpo_model)
    run = orpo.read()
    if run is None or run["figures"] is None:
        return sft
    return orpo.folder if run["settings"].get("adapter sha256") == sha256(sft / ADAPTER_FILE) else sft


if __name__ == "__main__":
    run(main)
