"""Ask a tuned model for a diagram: prints its text and draws it as a PNG.

    python fine_tuning/ask.py "a neural network with 3 inputs, a hidden layer of 4 nodes and 1 output, neuron by neuron"
    python fine_tuning/ask.py --model embedded --workspace demo --output net.png "Flowchart: sales data -> price model"

Takes the adapter of step 3, or that of step 1 where step 3 has not been done.
"""

import sys
from pathlib import Path

from fine_tuning.run.endings import printable, run, stop
from fine_tuning.run.files import sha256
from fine_tuning.run.options import Options, make_parser, model_problems, to_options
from fine_tuning.run.run_state import ADAPTER_FILE, RunState, step_1_problems

MAX_NEW_TOKENS = 1280


def main() -> None:
    parser = make_parser(__doc__, is_step=False)
    parser.add_argument("request", help="what to draw, in English")
    parser.add_argument(
        "--instruction",
        help="what ends every prompt of the data that the model was trained on (default: that of the committed CSVs)",
    )
    parser.add_argument("--output", type=Path, default=Path("diagram.png"), help="the picture (default: diagram.png)")
    args = parser.parse_args()
    options = to_options(args)
    problems = model_problems(options) + step_1_problems(options)
    if not args.output.resolve().parent.is_dir():
        problems.append(f"--output {args.output}: there is no such folder")
    if args.output.is_dir():
        problems.append(f"--output {args.output}: this is a folder; name a picture in it")
    if problems:
        stop(problems)

    from create_dataset.create_dataset import INSTRUCTION
    from diagram import parse
    from diagram.draw import save_png
    from fine_tuning.common import for_generation, load_adapter, load_base_model, load_tokenizer
    from fine_tuning.data.tokens import encode_prompt
    from fine_tuning.sampling.generation import generate_batch

    folder = latest_adapter(options)
    tokenizer = load_tokenizer(options)
    model = for_generation(load_adapter(load_base_model(options), folder, options, trainable=False))
    try:
        instruction = INSTRUCTION if args.instruction is None else args.instruction
        prompt = encode_prompt(tokenizer, "\n\n".join(part for part in (args.request, instruction) if part))
    except ValueError as error:
        stop([str(error)])
    (answer,) = generate_batch(model, tokenizer, [prompt], MAX_NEW_TOKENS, temperature=0, seed=options.seed)
    diagram = parse(answer.text)
    try:
        save_png(diagram, args.output)
    finally:  # a disk that is full loses no answer
        print(printable(answer.text))
    for problem in diagram.problems:
        print(f"note: {printable(str(problem))}", file=sys.stderr)
    print(f"drawn by the adapter in {folder}: {args.output}", file=sys.stderr)


def latest_adapter(options: Options) -> Path:
    """The adapter of step 3 where it was trained on the one that step 1 has left, else that of step 1."""
    sft, orpo = options.workspace.sft_model, RunState(options.workspace.orpo_model)
    is_next = orpo.is_finished and orpo.read()["settings"].get("adapter sha256") == sha256(sft / ADAPTER_FILE)
    return orpo.folder if is_next else sft


if __name__ == "__main__":
    run(main)
