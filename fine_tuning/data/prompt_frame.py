"""The frame of a file's prompts: the text around the request that nearly all of them share.

Step 1 finds the frame in the SFT CSV and stores it with the adapter. `ask.py` puts it around a new request, so that the
model gets a prompt like those it was trained on. Captions show the request without it.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from fine_tuning.data.frame_search import find_frame, pattern_of
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options

FRAME_FILE = "prompt_frame.json"
MAX_SHOWN = 80  # characters of each part in the log


@dataclass(frozen=True, slots=True)
class PromptFrame:
    """What stands before and after the request in a prompt. Both parts may be empty."""

    beginning: str = ""
    end: str = ""

    def fits(self, prompt: str) -> bool:
        """True if the prompt is a request with this frame around it. Whitespace may differ. No prompt has an empty
        frame.
        """
        return bool(self.beginning or self.end) and self._inside(prompt) is not None

    def request_of(self, prompt: str) -> str:
        """The request inside the prompt; the whole prompt if it does not have this frame."""
        return (self._inside(prompt) or prompt).strip()

    def prompt_of(self, request: str) -> str:
        """The prompt that asks for the request. A part of the frame that the request already has is not added again."""
        inside = self._inside(request)
        if inside is None:
            inside = self._without_end(self._without_beginning(request))
        return f"{self.beginning}{inside}{self.end}"

    def to_json(self) -> str:
        """The frame as stored with an adapter."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PromptFrame":
        """Invert `to_json`. Raises ValueError if the text is something else."""
        stored = json.loads(text)
        if not isinstance(stored, dict):
            raise ValueError("not a JSON object")
        beginning, end = stored.get("beginning"), stored.get("end")
        if not isinstance(beginning, str) or not isinstance(end, str):
            raise ValueError("a part of the frame is missing")
        return cls(beginning, end)

    def facts(self) -> dict[str, str]:
        """Both parts for the log, shortened."""
        return {"prompts begin with": _shown(self.beginning), "prompts end with": _shown(self.end)}

    def _inside(self, prompt: str) -> str | None:
        """The text between the two parts; None if a part is missing or the text is blank."""
        first = pattern_of(self.beginning).match(prompt)
        last = pattern_of(self.end, at_end=True).search(prompt, first.end() if first else 0)
        if not first or not last:
            return None
        inside = prompt[first.end() : last.start()]
        inside = inside.lstrip() if self.beginning.strip() else inside
        inside = inside.rstrip() if self.end.strip() else inside
        return inside if inside.strip() else None

    def _without_beginning(self, request: str) -> str:
        found = pattern_of(self.beginning).match(request)
        return request[found.end() :].lstrip() if found and _has_words(self.beginning) else request

    def _without_end(self, request: str) -> str:
        found = pattern_of(self.end, at_end=True).search(request)
        return request[: found.start()].rstrip() if found and _has_words(self.end) else request


def frame_of(prompts: Iterable[str]) -> PromptFrame:
    """The frame that at least 90 % of the distinct prompts share; an empty one if they share none."""
    return PromptFrame(*find_frame(list(dict.fromkeys(prompts))))


def captions(stored: PromptFrame, prompts: Iterable[str]) -> Callable[[str], str]:
    """A function that returns the request of a prompt: with the adapter's frame if the prompt has it, else with the
    frame of `prompts`, the file that the prompt is from.
    """
    own = frame_of(prompts)
    return lambda prompt: (stored if stored.fits(prompt) else own).request_of(prompt)


def stored_frame(folder: Path, options: Options) -> tuple[PromptFrame, str]:
    """The frame stored with the adapter in `folder`, and "".

    If there is none, as with an adapter of an earlier version, or if it is damaged: the frame of the SFT CSV and a note
    that says so. If that CSV cannot be read: the frame of the committed CSVs.
    """
    path = folder / FRAME_FILE
    try:
        return PromptFrame.from_json(path.read_text(encoding="utf-8")), ""
    except FileNotFoundError:
        why = f"{path}: there is no such file, because an earlier version trained this adapter"
    except (OSError, ValueError, RecursionError):
        why = f"{path}: this file is damaged"
    try:
        rows = read_sft_rows(options).rows
    except UserError:
        from create_dataset.create_dataset import INSTRUCTION

        return PromptFrame("", f"\n\n{INSTRUCTION}"), f"{why}. Prompts are made as in the committed CSVs"
    csv_path = options.workspace.file_to_read(options.workspace.sft_csv)
    return frame_of(row.prompt for row in rows), f"{why}. Prompts are made as in {csv_path}"


def _has_words(part: str) -> bool:
    """False for a lone quotation mark, which a request may have for itself."""
    return any(character.isalnum() for character in part)


def _shown(part: str) -> str:
    text = " ".join(part.split())
    if not text:
        return "nothing in common"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(part):,} characters)"
