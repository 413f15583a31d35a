"""Ask the tuned model for a diagram. Prints the text of its answer and draws it.

    python fine_tuning/ask.py "a neural network with 3 inputs, a hidden layer of 4 nodes and 1 output, neuron by neuron"
    python fine_tuning/ask.py --model embedded --workspace demo --output net.svg "Flowchart: sales data -> price model"
    python fine_tuning/ask.py --requests requests.txt > answers.jsonl

The ending of --output decides the kind of picture: .png, .svg, or .drawio to edit it by hand in draw.io.

The answer is the most likely one (greedy decoding). If shapes overlap in it, or anything else is wrong that can be seen
without a reference, the model answers 8 times more by sampling, and the tidiest of the answers whose graph most of them
have is shown. With --samples it does so for every request.

Puts around your request what your training data has around every request. Uses the adapter of step 3 or, if step 3 has
not finished, that of step 1.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diagram.pictures import SUFFIXES
from fine_tuning.common import run, tuned_model
from fine_tuning.data.prompt_frame import stored_frame
from fine_tuning.data.request_lines import STDIN, Request, batches, check_requests, read_requests
from fine_tuning.data.scoring import scoring_of_answers
from fine_tuning.data.trained_size import largest_trained
from fine_tuning.run.command_line import add_plain, make_parser, to_options, user_path, whole_number
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import printable
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.model_check import check_download, check_model
from fine_tuning.run.options import MAX_SEED, SEED, set_environment
from fine_tuning.run.processes import refuse_several
from fine_tuning.run.step_order import check_step_1, check_tokenizer, latest_adapter
from fine_tuning.run.step_preset import preset_after_step_1
from fine_tuning.sampling.show import best_shown, failure
from fine_tuning.sampling.vote import MAX_SAMPLES, SAMPLES

if TYPE_CHECKING:
    from fine_tuning.sampling.asker import Asker

ENDINGS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def main() -> None:
    refuse_several()

    # 1. Read the command line. All problems are reported together, before torch is imported.
    args = parse_arguments()
    samples = SAMPLES if args.samples is None else args.samples
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
        check_request(args.request, args.requests)
    with checks:
        count = None if args.requests is None else check_requests(args.requests)
    with checks:
        check_output(args.output)
    with checks:
        check_top(args.top, samples)
    checks.finish()
    check_download(options)
    folder = latest_adapter(options)
    frame, note = stored_frame(folder, options)
    scoring, largest = scoring_of_answers(options), largest_trained(options, folder)
    for line in (taken_over, note and f"note: {note}"):
        if line:
            print(printable(line), file=sys.stderr)

    from fine_tuning.sampling.asker import Asker
    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.sampling.grammar import DiagramGrammar
    from fine_tuning.training.model_probe import probe

    # 2. A prompt is the request in the frame of the training prompts. Further answers are sampled where the greedy one
    #    has a flaw, or for every request if the user wants several answers.
    probed = probe(options, preset)
    check_tokenizer(options, probed.settings)
    model = merge_for_generation(tuned_model(options, preset, folder))
    always = args.samples is not None or args.top > 1
    batch_size = preset.sampling.batch_size
    grammar = DiagramGrammar(probed.tokenizer) if args.grammar else None
    decoder = Decoder(model, probed.tokenizer, batch_size, options.plain)
    asker = Asker(decoder, frame, scoring, samples, always, batch_size, args.sample_seed, grammar)

    # 3. Choose the best answers, draw and print them.
    drawn = answer_one(asker, args, largest) if args.requests is None else answer_many(asker, args, largest, count)
    print(f"drawn with the adapter in {folder}: {drawn}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    """Read the command line. On --help argparse exits with status 0, on a mistake with status 2."""
    parser = make_parser(__doc__, is_step=False)
    parser.add_argument("request", nargs="?", help="what to draw, in English")
    parser.add_argument(
        "--requests",
        type=os.path.expanduser,
        metavar="FILE",
        help="answer each line of this file, or of stdin with -, and print one line of JSON for each",
    )
    parser.add_argument(
        "--output",
        type=user_path,
        default=Path("diagram.png"),
        help=f"the picture, a {ENDINGS} file (default: diagram.png)",
    )
    parser.add_argument(
        "--samples",
        type=whole_number(0, MAX_SAMPLES),
        metavar="N",
        help="answers to choose from besides the greedy one; 0 shows the greedy one, flawed or not (default: "
        f"{SAMPLES} if the greedy one has a flaw, else 0)",
    )
    parser.add_argument(
        "--top",
        type=whole_number(1, 1 + MAX_SAMPLES),
        default=1,
        metavar="K",
        help="show the K best answers that differ, and number their pictures (default: 1); above 1, --samples is "
        f"{SAMPLES} by default",
    )
    parser.add_argument(
        "--seed",
        dest="sample_seed",  # `seed` is that of the three steps
        type=whole_number(0, MAX_SEED),
        default=SEED,
        metavar="SEED",
        help=f"seed of the samples; another one gives other samples (default: {SEED})",
    )
    parser.add_argument(
        "--grammar",
        action="store_true",
        help="hold the answers to the diagram language while they are generated: then nothing is wrong in their text",
    )
    add_plain(parser)
    return parser.parse_args(flags())


def answer_one(asker: "Asker", args: argparse.Namespace, largest: int | None) -> str:
    """Answer the request of the command line. Prints the answer, and on stderr what is known about it.

    Returns the names of the pictures.
    """
    (candidates,) = asker.candidates([asker.prompt(args.request)])
    shown = best_shown(Request(args.request), candidates, args.output, args.top, largest)
    try:
        shown.draw()
    finally:  # print the answer even if the disk is full
        print(printable(shown.listing()))
    for line in shown.remarks():
        print(printable(line), file=sys.stderr)
    if len(shown.best) < args.top:
        print(f"note: only {len(shown.best)} of {shown.answers} answers differ. For more: --samples", file=sys.stderr)
    return ", ".join(map(str, shown.pictures))


def answer_many(asker: "Asker", args: argparse.Namespace, largest: int | None, count: int | None) -> str:
    """Answer every line of --requests, a batch at a time, and print a line of JSON for each.

    Returns how many pictures there are. A request that cannot be answered does not stop the others; after them all,
    raises UserError.
    """
    from tqdm import tqdm

    failed = []
    pictures = 0
    size = 1 if args.requests == STDIN and sys.stdin.isatty() else asker.requests_at_once
    hidden = True if sys.stdout.isatty() else None  # a bar would run into the lines; None: hidden if not on a terminal
    with tqdm(total=count, desc="answering", unit="request", disable=hidden) as progress:
        for batch in batches(read_requests(args.requests), size):
            prompts, errors = {}, {}
            for request in batch:
                try:
                    prompts[request] = asker.prompt(request.text)
                except UserError as error:
                    errors[request] = str(error)
                    failed.append(f"--requests {args.requests}: line {request.line}: {error}")
            answers = dict(zip(prompts, asker.candidates(list(prompts.values())), strict=True))
            for request in batch:
                if request in errors:
                    print(failure(request, errors[request]), flush=True)
                    continue
                shown = best_shown(request, answers[request], args.output, args.top, largest)
                try:
                    shown.draw()
                finally:
                    print(shown.record(), flush=True)
                pictures += len(shown.pictures)
            progress.update(len(batch))
    if failed:
        raise UserError(*failed)
    return f"{pictures} pictures"


def check_request(request: str | None, file: str | None) -> None:
    """Raise UserError if there is no request, or if there are two sources of them."""
    if file is not None and request is not None:
        raise UserError(f"give a request or --requests {file}, not both")
    if file is None and request is None:
        raise UserError("there is no request. Say what to draw, or name a file of requests with --requests")
    if request is not None and not request.strip():
        raise UserError("the request is empty. Say what to draw")


def check_top(top: int, samples: int) -> None:
    """Raise UserError if fewer answers are generated than are to be shown."""
    if top > 1 + samples:
        raise UserError(f"--top {top} needs {top} answers, but there are {1 + samples}. Add --samples {top - 1}")


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


if __name__ == "__main__":
    run(main)
