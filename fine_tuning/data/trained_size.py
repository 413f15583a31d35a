"""The size of the largest diagram that an adapter was trained on. Answers that are larger are guesses."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from diagram import parse
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState

LARGEST = "shapes of the largest training reference"


def largest_of(references: Iterable[str]) -> int:
    """The most shapes that one of the references has."""
    return max((len(parse(text).nodes) for text in references), default=0)


def largest_trained(options: Options, folder: Path) -> int | None:
    """The most shapes of a reference that the adapter in `folder` was trained on, in step 1 or after it.

    Runs of an earlier version did not store it. Then look at the SFT CSV, if it is the one that step 1 read. None if
    that is not possible either. Raises DamagedFile for run.json.
    """
    sizes = []
    for place in {options.workspace.sft_model, folder}:
        run = RunState(place).read()
        size = run["figures"].get(LARGEST) if run and run["figures"] else None
        if isinstance(size, int):
            sizes.append(size)
        elif place == options.workspace.sft_model:
            return _largest_in_csv(options)
    return max(sizes)


def _largest_in_csv(options: Options) -> int | None:
    settings = RunState(options.workspace.sft_model).stored_settings
    options = options.as_stored(settings)
    path = options.workspace.file_to_read(options.workspace.sft_csv)
    with contextlib.suppress(UserError, OSError):
        if sha256(path) == settings.get("data sha256"):
            rows = limit_prompts(read_sft_rows(options).rows, options.max_rows)
            prompts, _ = split_prompts(rows, options.seed)
            return largest_of(row.answer for row in rows if row.prompt in prompts)
    return None
