"""Did an answer end, or was it cut off at the limit of tokens?"""

from diagram import parse
from fine_tuning.data.csv_rows import Row, shape_info

ENDED_COLUMN = "ended"


def recorded_ended(row: Row) -> bool | None:
    """What the CSV says: the column `ended` or, in older workspaces, `ended` in dest_shape_info; None if neither."""
    if row.fields.get(ENDED_COLUMN, "").strip():
        return row.ended
    older = shape_info(row.fields).get("ended")
    return older if isinstance(older, bool) else None


def has_ended(row: Row) -> bool:
    """What the CSV says or, if it says nothing, whether the last line is complete. References always have."""
    recorded = recorded_ended(row)
    return (row.score == 1 or parse(row.answer).complete) if recorded is None else recorded
