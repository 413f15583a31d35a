"""Find the text that nearly all prompts of a file begin and end with.

The longest common beginning usually reaches into the request ("Draw a "), so it is cut at the last place where a
request can begin: after a line break, a sentence, a colon or a tag. The same holds for the end.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

NEEDED = 9, 10  # at least nine of ten prompts must share the frame

# Punctuation that ends a sentence if whitespace follows, and punctuation that needs none.
_STOPS, _WIDE_STOPS = ".!?…؟۔।", "。！？｡"
_CLOSERS = r"""[\"'”’»)\]」』*_]*"""
_NO_ABBREVIATION = "".join(rf"(?<!\b{word})" for word in ("No", "no", "Nr", "Fig", "fig", "e\\.g", "i\\.e", "vs", "ca"))
_TAG = r"</?[^<>\n]{1,60}>|\[/?[A-Z_]+\]"
_BULLET = r"(?:[-*•>#]+[ \t]+)?"
_REQUEST_BEGINS = re.compile(
    rf"(?:\n\s*|{_NO_ABBREVIATION}[{_STOPS}:]{_CLOSERS}\s+|[{_WIDE_STOPS}：]{_CLOSERS}\s*|(?:{_TAG})\s*){_BULLET}"
    rf"|^[#*\s]*[^\W\d][\w ]{{0,30}}(?<=[^\W\d]):(?![:/])(?!{_CLOSERS}\s)",  # a label without a space after it
    re.MULTILINE,
)
_REQUEST_ENDS = re.compile(
    rf"(?P<line>(?<!\s)\s*\n)|{_NO_ABBREVIATION}[{_STOPS}]{_CLOSERS}(?P<sentence>\s+)"
    rf"|[{_WIDE_STOPS}]{_CLOSERS}(?P<wide>)(?=\S)|(?P<tag>(?<!\s)\s*(?:{_TAG}))"
    r"|(?P<label>\s+[A-Z]\w*:\Z)"  # for the answer, as in "Diagram:"
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "「": "」", "『": "』", "`": "`"}


def find_frame(prompts: Sequence[str]) -> tuple[str, str]:
    """What at least nine of ten of the distinct prompts begin and end with; two empty strings if they share nothing.

    Whitespace around the prompts counts as part of the frame if most prompts have it. Takes time in proportion to the
    characters that are shared.
    """
    texts = list(dict.fromkeys(prompt.strip() for prompt in prompts))
    if len(texts) < 2:
        return "", ""
    needed = -(-len(texts) * NEEDED[0] // NEEDED[1])
    shared = _shared_start(texts, needed)
    beginning = shared[: max((found.end() for found in _REQUEST_BEGINS.finditer(shared)), default=0)]
    rests = [rest for text in texts if text.startswith(beginning) and (rest := text[len(beginning) :])]
    if len(rests) < needed:
        return "", ""
    shared_end = _shared_start([rest[::-1] for rest in rests], needed)[::-1]
    end = shared_end[_start_of_end(shared_end, rests, needed) :]
    beginning, end = _with_quotes(beginning, end, shared, shared_end, rests, needed)
    before = _most_common(prompt[: len(prompt) - len(prompt.lstrip())] for prompt in prompts)
    after = _most_common(prompt[len(prompt.rstrip()) :] for prompt in prompts)
    return before + beginning, end + after


@lru_cache(maxsize=16)
def pattern_of(part: str, at_end: bool = False) -> re.Pattern[str]:
    """A pattern for a part of a frame, in which any whitespace may stand for any other."""
    words = r"\s+".join(map(re.escape, part.split()))
    if not words:
        return re.compile(r"\Z" if at_end else "")
    return re.compile(rf"{words}\s*\Z" if at_end else rf"\s*{words}")


def _shared_start(texts: Sequence[str], needed: int) -> str:
    """The longest text that at least `needed` of the texts begin with. `needed` is more than half of them."""
    length, block = 0, 256
    while block:
        start, count = Counter(text[length : length + block] for text in texts).most_common(1)[0]
        if count >= needed and len(start) == block:
            texts = [text for text in texts if text.startswith(start, length)]
            length += block
        else:
            block //= 2
    return texts[0][:length]


def _start_of_end(shared: str, texts: Sequence[str], needed: int) -> int:
    """Where the frame's end begins in the end that the texts share: as early as a request can end."""
    stops = _STOPS + _WIDE_STOPS if shared[:1].isspace() else _WIDE_STOPS
    before = [text[: len(text) - len(shared)].rstrip("\"'”’»)]」』*_") for text in texts if text.endswith(shared)]
    if shared and sum(text != "" and text[-1] in stops for text in before) >= needed:
        return 0
    found = _REQUEST_ENDS.search(shared)
    return found.start(found.lastgroup) if found and found.lastgroup else len(shared)


def _with_quotes(
    beginning: str, end: str, shared: str, shared_end: str, texts: Sequence[str], needed: int
) -> tuple[str, str]:
    """Take the quotation marks around all requests into the frame, unless requests have such marks themselves."""
    opening = shared[len(beginning) : len(beginning) + 1]
    closing = _QUOTES.get(opening)
    if closing is None:
        return beginning, end
    found = re.search(rf"{re.escape(closing)}[.!?)\]}}\s]*\Z", shared_end[: len(shared_end) - len(end)])
    if found is None:
        return beginning, end
    longer_end = shared_end[found.start() :]
    insides = [text[1 : len(text) - len(longer_end)] for text in texts if text.endswith(longer_end)]
    if sum(opening not in inside and closing not in inside for inside in insides) < needed:
        return beginning, end
    return beginning + opening, longer_end


def _most_common(texts: Iterable[str]) -> str:
    return Counter(texts).most_common(1)[0][0]
