"""Characters that stand for shapes while a flowchart request is built. At the end the names take their place."""

import re
from collections.abc import Callable

_FIRST = 0xE000  # the first of the private-use characters, which occur in no request
_MARKS = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + 99)}]")


def mark(number: int) -> str:
    """The character that stands for the shape with this number, from 0 to 99."""
    return chr(_FIRST + number)


def marked(text: str) -> list[int]:
    """The shapes whose marks are in the text, in the order of their first ones."""
    return [ord(found) - _FIRST for found in dict.fromkeys(_MARKS.findall(text))]


def with_names(text: str, name_of: Callable[[int], str]) -> str:
    """The text with the name of a shape in place of each mark."""
    return _MARKS.sub(lambda found: name_of(ord(found[0]) - _FIRST), text)
