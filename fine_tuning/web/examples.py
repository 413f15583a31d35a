"""Requests to try: some that no step has trained on, short ones, from every family of the SFT CSV."""

from dataclasses import replace

from fine_tuning.data.prompt_frame import frame_of
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import limit_prompts, prompts_by_family, split_prompts
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState

LONGEST = 130  # characters


def held_out_requests(options: Options, count: int = 6) -> list[str]:
    """Up to `count` requests of rows that step 1 holds out. None if its CSV cannot be used."""
    try:
        options = options.as_stored(RunState(options.workspace.sft_model).stored_settings)
        rows = read_sft_rows(replace(options, skip_bad_rows=True)).rows
        _, held_out = split_prompts(limit_prompts(rows, options.max_rows), options.seed)
    except (UserError, OSError):
        return []
    frame = frame_of(row.prompt for row in rows)
    families = prompts_by_family(row for row in rows if row.prompt in held_out).values()
    lists = []
    for prompts in families:
        requests = [request for request in map(frame.request_of, prompts) if len(request) <= LONGEST]
        spread = max(1, len(requests) // count)
        lists.append(sorted(requests, key=len)[spread // 2 :: spread])
    turns = [requests[k] for k in range(count) for requests in lists if k < len(requests)]
    return turns[:count]
