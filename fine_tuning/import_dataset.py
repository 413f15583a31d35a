"""Bring files of rows into a workspace: write the two CSVs that the three steps read.

    python fine_tuning/import_dataset.py rows.csv --workspace mine
    python fine_tuning/import_dataset.py rows.xlsx pairs.jsonl --workspace mine
    python fine_tuning/import_dataset.py data.csv --workspace mine --prompt-column Question --answer-column Drawing

reads   CSV and TSV with any separator and encoding, XLSX, JSON, JSONL and Parquet, also compressed with gzip
columns (names are compared without case and spaces around them)
        input_data, output_data
        prompt, completion (or response, answer, output)
        instruction, output; a column input is joined to the instruction
        prompt, chosen, rejected: preference pairs, for step 3
        messages with role and content, or conversations with from and value; one request and one answer
        kept beside them: score (0 to 1) or label (true, false), split (train, validation), ended (true, false),
        dest_shape_info
writes  create_dataset/sft_dataset_llm.csv and create_dataset/orpo_dataset_llm.csv in the workspace, both or neither

Rows without a score go into the SFT CSV; pairs and rows with a score into the ORPO CSV. If there are only rows without
a score, 2 of 9 prompts are for the ORPO CSV. If there are only pairs or scores, the good answers go into both.
Answers must be diagrams; rejected ones, and those with a score below 1, may be anything. The program says what became
of every row that it does not take. Row 1 is the first row after the header, or the first line of a JSONL file.

If your columns have other names, give them: --prompt-column, --answer-column, --chosen-column, --rejected-column.

next    python fine_tuning/run_all.py --workspace mine
"""

import argparse
import json
import shlex

from fine_tuning.data.importing.examples import Example, Report, examples_of
from fine_tuning.data.importing.layouts import Layout, count_known, plain_name
from fine_tuning.data.importing.reporting import changes, preview, refusals
from fine_tuning.data.importing.sharing_out import ORPO_SHARE, share_out
from fine_tuning.data.importing.table_files import Table, read_table
from fine_tuning.data.importing.writing import check_target, csv_text, write_csvs
from fine_tuning.data.problems import count_text
from fine_tuning.run.command_line import user_path
from fine_tuning.run.commands import default_workspace, flags, program, program_of
from fine_tuning.run.entry_point import printable, run
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.options import SEED
from fine_tuning.run.processes import refuse_several
from fine_tuning.run.workspace import Workspace, broken_links

MAX_COLUMNS = 20  # that are listed as not used
COLUMNS = {  # which the user may name: --prompt-column and so on
    "prompt": "prompts",
    "answer": "answers",
    "chosen": "chosen answers",
    "rejected": "rejected answers",
}


def main() -> None:
    refuse_several()

    # 1. Read the command line and the files. All problems are reported together.
    args = parse_flags()
    workspace = Workspace(args.workspace.resolve())
    named = {name: column for name in COLUMNS if (column := getattr(args, f"{name}_column"))}
    report = Report()
    examples: list[Example] = []
    descriptions: list[str] = []
    checks = Checks()
    with checks:
        if broken := broken_links(args.workspace):
            raise UserError(*(f"--workspace {args.workspace}: {problem}" for problem in broken))
        check_target(workspace, args.overwrite)
    tables = []
    for path in args.files:
        with checks:
            tables.append(read_table(path, lambda columns: count_known(columns, named), args.encoding, args.sheet))
    with checks:
        if args.sheet and tables and not any(table.format.startswith("Excel") for table in tables):
            raise UserError(f"--sheet {args.sheet}: no Excel file was given")
    columns = {plain_name(column) for table in tables for column in table.columns}
    for table in tables:
        with checks:  # a name may be meant for some of the files; one that no file has is a mistake
            own = {word: name for word, name in named.items() if {plain_name(name)} & {*map(plain_name, table.columns)}}
            missing = {word: name for word, name in named.items() if plain_name(name) not in columns}
            layout, found = examples_of(table, own | missing, report, table.path.name if len(args.files) > 1 else "")
            examples += found
            descriptions.append(description(table, layout))
    checks.finish()

    # 2. Decide which rows go into which CSV.
    try:
        shared = share_out(examples, report, args.orpo_share, SEED)
    except UserError as error:  # the rows that are not taken may be the reason
        raise UserError(*error.problems, *descriptions, *refusals(report)) from None
    if not shared.sft:
        raise UserError("no row can be used", *descriptions, *refusals(report))

    # 3. Write both CSVs. Then say what became of the rows.
    write_csvs(workspace, csv_text(shared.sft, scored=False), csv_text(shared.orpo, scored=True))
    print(printable("\n".join(descriptions)))
    for line in (*changes(report), *report.notes, *refusals(report)):
        print(printable(line))
    print(printable(preview(shared.sft[0])))
    prompts = [len({row.prompt for row in rows}) for rows in (shared.sft, shared.orpo)]
    for csv, rows, count in zip(
        (workspace.sft_csv, workspace.orpo_csv), (shared.sft, shared.orpo), prompts, strict=True
    ):
        print(printable(f"{csv}: {count_text(len(rows), 'row', 'rows')}, {count_text(count, 'prompt', 'prompts')}"))
    command = shlex.join([*program_of("run_all"), "--workspace", str(args.workspace)])
    print(printable(f"next: {command} (to try it on a CPU, add --model embedded)"))
    figures = {
        "rows read": report.rows,
        "rows not taken": sum(map(len, report.refused.values())),
        "not taken": {kind: len(places) for kind, places in report.refused.items()},
        "SFT rows": len(shared.sft),
        "SFT prompts": prompts[0],
        "ORPO rows": len(shared.orpo),
        "ORPO prompts": prompts[1],
        "pairs": shared.pairs,
        "code fences removed": report.fences,
        "answers rewritten": report.rewritten,
    }
    print(json.dumps(figures))


def parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=" ".join(program()).removeprefix("python "),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "files", nargs="+", type=user_path, metavar="FILE", help="files of rows; they may have different layouts"
    )
    parser.add_argument(
        "--workspace",
        type=user_path,
        default=default_workspace(),
        help=f"folder to write the two CSVs in; a new one is made (default: {default_workspace()})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace CSVs that no run has used yet")
    for name, meaning in COLUMNS.items():
        parser.add_argument(f"--{name}-column", metavar="NAME", help=f"the column with the {meaning}")
    parser.add_argument("--encoding", help="encoding of text files, such as cp949 (default: found out, and printed)")
    parser.add_argument("--sheet", help="sheet of an Excel file (default: the first one with known columns)")
    parser.add_argument(
        "--orpo-share",
        type=_share,
        default=ORPO_SHARE,
        help="share of the prompts for the ORPO CSV if there are no pairs and no scores (default: 0.22, as 200 of 900)",
    )
    return parser.parse_args(flags())


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.22")
    return share


def description(table: Table, layout: Layout) -> str:
    """What was read from a file: its format, the columns that are used and those that are not."""
    unused = [column for column in table.columns if column not in layout.used() and column.strip()]
    text = f"{table.path}: {table.format}. Columns: {', '.join(layout.used())}"
    more = f" and {len(unused) - MAX_COLUMNS} more" if len(unused) > MAX_COLUMNS else ""
    return f"{text}. Not used: {', '.join(unused[:MAX_COLUMNS])}{more}" if unused else text


if __name__ == "__main__":
    run(main)
