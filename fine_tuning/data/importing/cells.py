"""The text of a cell, whatever its type: text, a number, a list of chat messages."""

import ast
import json
import math
import re
from collections.abc import Sequence
from typing import Any

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "ai", "bot", "bing", "bard"), ASSISTANT),
    **dict.fromkeys(("system", "developer"), SYSTEM),
}


class Refused(Exception):
    """A row that is not taken: its kind, for the count, and what exactly is wrong with this one."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind, self.detail = kind, detail


def is_empty(cell: object) -> bool:
    """True for nothing, NaN and blank text."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def text_of(cell: object, name: str) -> str:
    r"""A cell as text: line ends are \n, no space around it; empty for an empty cell.

    Raises Refused for anything but text and numbers; `name` is what to call the cell.
    """
    if is_empty(cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, int | float):
        return str(cell)
    if not isinstance(cell, str):
        raise Refused(f"{name} is not text", type(cell).__name__)
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise Refused(f"{name} has a half character (a surrogate), which UTF-8 cannot hold") from None
    return cell.replace("\r\n", "\n").replace("\r", "\n").strip()


def messages_in(cell: object) -> list[dict[str, Any]] | None:
    """The chat messages in a cell: a list of dicts, or the text of one in JSON or Python. None if it holds none."""
    if isinstance(cell, str) and re.match(r"\s*\[\s*\{", cell):
        text = cell
        for read in (json.loads, ast.literal_eval):
            try:
                cell = read(text)
                break
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                continue
    if isinstance(cell, dict) and ("role" in cell or "from" in cell):
        cell = [cell]
    if not isinstance(cell, list) or not cell:
        return None
    are_messages = all(isinstance(item, dict) and ("role" in item or "from" in item) for item in cell)
    return cell if are_messages else None


def read_chat(messages: Sequence[dict[str, Any]], name: str) -> tuple[str, object]:
    """The prompt and the answer of a chat with one request at the most. Raises Refused.

    The prompt is the request, followed by the system message if there is one. Either may be missing: then it is empty.
    """
    said: dict[str, list[object]] = {USER: [], ASSISTANT: [], SYSTEM: []}
    for message in messages:
        role = message.get("role", message.get("from"))
        if not isinstance(role, str) or role.lower() not in ROLES:
            raise Refused(f"{name} has a message of a role that is not user, assistant or system", str(role)[:40])
        said[ROLES[role.lower()]].append(_content(message))
    if len(said[USER]) > 1 or len(said[ASSISTANT]) > 1:
        raise Refused(f"{name} is a conversation of several turns")
    if said[ASSISTANT] and ROLES[str(messages[-1].get("role", messages[-1].get("from"))).lower()] != ASSISTANT:
        raise Refused(f"{name} does not end with the answer")
    prompt = "\n\n".join(filter(None, (text_of(part, "the prompt") for part in (*said[USER], *said[SYSTEM]))))
    return prompt, said[ASSISTANT][0] if said[ASSISTANT] else None


def _content(message: dict[str, Any]) -> object:
    """What a message says; its text may be in parts, as in [{"type": "text", "text": "..."}]."""
    content: object = message.get("content", message.get("value"))
    if isinstance(content, list) and content and all(isinstance(part, dict) and "text" in part for part in content):
        return "\n".join(str(part["text"]) for part in content)
    return content
