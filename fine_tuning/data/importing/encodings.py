"""Find out the encoding of a text file."""

import codecs
import contextlib
import re

from fine_tuning.data.problems import count_text
from fine_tuning.run.errors import UserError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SURE = {"utf-8", *(name for _, name in BYTE_ORDER_MARKS)}  # the others are guesses
_MOSTLY = 10  # letters that are valid UTF-8 for each byte that is not: then the file is a damaged UTF-8 file
_START = 2000  # bytes from which binary files and UTF-16 are recognised
LAST_RESORT = "cp1252"  # Western European, Excel's default


def decode(content: bytes, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file and the encoding it was read with. `encoding` is what the user named.

    Raises UserError if the user's encoding does not fit, or if the content is not text or is damaged.
    """
    if encoding:
        try:
            return content.decode(encoding).lstrip("\ufeff"), encoding
        except LookupError:
            raise UserError(
                f"--encoding {encoding}: there is no such encoding. Examples: utf-8, cp1252, cp949"
            ) from None
        except UnicodeError as error:
            raise UserError(f"--encoding {encoding} does not fit: {error}. Name another one, or leave it out") from None
    marked = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), None)
    for name in (marked,) if marked else _utf_16_without_mark(content):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(name).lstrip("\ufeff"), name  # some programs write the mark twice
    if b"\0" in content[:_START]:
        raise UserError("it is not a table in text form. These are read: CSV, TSV, XLSX, JSON, JSONL and Parquet")
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode(), "utf-8"
    return _guess(content)


def _utf_16_without_mark(content: bytes) -> tuple[str, ...]:
    """UTF-16 if every other byte of the beginning is mostly zero, as in text of Latin letters."""
    start = content[:_START]
    zeros = [start[side::2].count(0) for side in (0, 1)]
    if max(zeros) < len(start) / 4:
        return ()
    return ("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le",)


# An encoding of one script is taken if enough of the letters beyond ASCII are of that script. Bytes of Chinese text may
# also be Korean, and the other way round: that encoding is taken in which more letters are frequent ones. Cyrillic
# letters must form words of their own: accented letters of a Western language, read so, stand among Latin ones.
_FREQUENT = {
    "cp949": re.compile(
        "[이다는을를의에가하고로한지은도서사기리시자어나대아인그려주세요개입력출층신경망상두네과와줘해]"
    ),
    "gb18030": re.compile("[的一是个在有和中这为上大请画出入层输连接图形方框网络神经两三四五六不到人我们用与从下]"),
}
_MIN_FREQUENT = 0.1  # of the letters beyond ASCII
_SCRIPTS = (
    ("cp949", re.compile("[\uac00-\ud7a3]"), "euc_kr", 0.8),
    ("cp932", re.compile("[\u3040-\u30ff]"), "cp932", 0.3),
    ("gb18030", re.compile("[\u4e00-\u9fa5]"), "gb2312", 0.8),
    ("cp1251", re.compile("(?<![A-Za-z])[\u0400-\u045f]{2,}(?![A-Za-z])"), "cp1251", 0.8),
)


def _check_damage(content: bytes) -> None:
    """Raise UserError if only a few bytes are not UTF-8: read in another encoding, all other letters would be wrong."""
    text = content.decode(errors="replace")
    wrong = text.count("\ufffd")
    if sum(not c.isascii() for c in text) - wrong >= _MOSTLY * wrong:
        position = len(text.partition("\ufffd")[0].encode())
        raise UserError(
            f"it is UTF-8, but {count_text(wrong, 'byte is', 'bytes are')} wrong, the first at byte {position}. "
            "Correct it there, or name the encoding with --encoding"
        )


def _guess(content: bytes) -> tuple[str, str]:
    _check_damage(content)
    for name, script, frequent_letters, needed in _SCRIPTS:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        letters = sum(not c.isascii() and c.isalpha() for c in text)
        in_script = "".join(script.findall(text)).encode(frequent_letters, errors="ignore").decode(frequent_letters)
        if not letters or len(in_script) < needed * letters:
            continue
        if name not in _FREQUENT:
            return text, name
        shares = {other: _frequent(content, other) / letters for other in _FREQUENT}
        if shares[name] == max(shares.values()) >= _MIN_FREQUENT:
            return text, name
    return content.decode(LAST_RESORT, errors="replace"), LAST_RESORT


def _frequent(content: bytes, encoding: str) -> int:
    """How many frequent letters of its language the content has in this encoding."""
    return len(_FREQUENT[encoding].findall(content.decode(encoding, errors="ignore")))
