"""Find a font that has the characters of a text.

Pillow's own font has ASCII only. The fonts that are tried, in this order:

    the file that the environment variable DIAGRAM_FONT names
    Pillow's own font
    DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic, arrows, mathematics
    fonts that operating systems usually have, such as Noto Sans CJK, Nanum Gothic and Malgun Gothic
    what fontconfig finds for the characters, if its command fc-match is there

A character that no font has is drawn as its letter without accents or else as a box, and a warning is logged once.
"""

import logging
import os
import shutil
import subprocess
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

FONT_VARIABLE = "DIAGRAM_FONT"
_NO_CHARACTER = "\U0010fffe"  # no font has it
_REPLACEMENTS = "□\ufffd?"
_MOST_SEARCHES = 20  # with fc-match, by one process
_ROOTS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
_USUAL = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKkr-Regular.otf", "NotoSansKR-Regular.otf", "NotoSansKR-Regular.ttf",
    "NanumGothic.ttf", "AppleSDGothicNeo.ttc", "malgun.ttf", "UnDotum.ttf", "NotoSansCJKsc-Regular.otf", "msyh.ttc",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "YuGothM.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "Arial Unicode.ttf",
    "segoeui.ttf", "seguisym.ttf", "FreeSans.ttf", "NotoSansSymbols2-Regular.ttf", "NotoSansMath-Regular.ttf",
)  # fmt: skip

_log = logging.getLogger(__name__)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Face:
    """A font at any size; without a path, Pillow's own. Raises OSError if the file is not a font."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self.at = lru_cache(maxsize=64)(self._at)
        self.has = lru_cache(maxsize=2**12)(self._has)
        # The simple layout draws a character that is missing in one way, also if it is an accent.
        self._probe = ImageFont.truetype(path, 24, layout_engine=ImageFont.Layout.BASIC) if path else self.at(24)
        self._nothing = self._look(_NO_CHARACTER)

    def _at(self, size: float) -> _Font:
        """The font at a size in pixels."""
        if self._path is None:
            return ImageFont.load_default(size)
        return ImageFont.truetype(self._path, size)

    def _has(self, character: str) -> bool:
        """True if the font draws the character in a way of its own."""
        return character == " " or self._look(character) != self._nothing

    def _look(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self._probe.getmask(character)
        return mask.size, bytes(mask)

    def missing(self, text: str) -> list[str]:
        """The different characters that the font does not have."""
        return [character for character in dict.fromkeys(text) if not self.has(character)]

    def drawable(self, text: str) -> str:
        """The text with what the font does not have replaced: by letters without accents, or else by boxes."""
        return "".join(character if self.has(character) else self._instead_of(character) for character in text)

    def _instead_of(self, character: str) -> str:
        if unicodedata.combining(character):
            return ""
        base = unicodedata.normalize("NFKD", character)[0]
        if base != character and base.isalnum() and self.has(base):
            return base
        return next(filter(self.has, _REPLACEMENTS), "?")


def face_for(text: str) -> Face:
    """The first font that has all characters of a text; if none has, the one that lacks fewest."""
    face = _best(text)
    replaced = [character for character in face.missing(text) if face.drawable(character) in (*_REPLACEMENTS,)]
    if replaced:
        _warn_once(replaced)
    return face


def faces_for(texts: Iterable[str]) -> dict[str, Face]:
    """A font for each text: one font for all if it has all their characters."""
    texts = list(texts)
    common = _best("".join(texts))
    if common.missing("".join(texts)):
        return {text: face_for(text) for text in texts}
    return dict.fromkeys(texts, common)


def _best(text: str) -> Face:
    characters = "".join(sorted(set(text)))
    faces = []
    for face in _faces(characters):
        if not face.missing(characters):
            return face
        faces.append(face)
    return min(faces, key=lambda face: (len(face.missing(characters)), not face.has(_REPLACEMENTS[0])))


def _faces(characters: str) -> Iterator[Face]:
    faces = [*_known_faces(), *(face for path in _usual_files() if (face := _face(path))), *_found]
    yield from faces
    lacking = {character for character in characters if not any(face.has(character) for face in faces)}
    if lacking - _nowhere and (path := _searched("".join(sorted(lacking)))) and (face := _face(path)):
        if any(map(face.has, lacking)):
            _found.append(face)
        yield face
    _nowhere.update(lacking)


@lru_cache(maxsize=1)
def _known_faces() -> list[Face]:
    """The named font, Pillow's own, and the one of matplotlib, as far as they are there."""
    named, found = os.environ.get(FONT_VARIABLE), []
    if named:
        face = _face(os.path.expanduser(named))
        if face is None:
            _log.warning("%s=%s cannot be read as a font; other fonts are used", FONT_VARIABLE, named)
        else:
            found.append(face)
    found.append(Face())
    package = find_spec("matplotlib")  # not imported: that takes long
    for folder in (package.submodule_search_locations or ()) if package else ():
        if face := _face(os.path.join(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")):
            found.append(face)
    return found


@lru_cache(maxsize=64)
def _face(path: str) -> Face | None:
    try:
        return Face(path)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def _usual_files() -> list[str]:
    """The usual fonts that are there, in the order of _USUAL."""
    found: dict[str, str] = {}
    for root in map(Path, map(os.path.expanduser, _ROOTS)):
        for folder, _, names in os.walk(root):
            found |= {name: os.path.join(folder, name) for name in names if name in _USUAL and name not in found}
    return sorted(found.values(), key=lambda path: _USUAL.index(os.path.basename(path)))


_found: list[Face] = []  # by searches
_nowhere: set[str] = set()  # characters that were searched for
_searches = 0


def _searched(characters: str) -> str | None:
    """What fontconfig finds for the characters; None without it, or after _MOST_SEARCHES searches."""
    global _searches
    command = shutil.which("fc-match")
    if command is None or _searches == _MOST_SEARCHES:
        return None
    _searches += 1
    codes = " ".join(f"{ord(character):x}" for character in characters)
    try:
        pattern = [command, "--format=%{file}", f"sans-serif:charset={codes}"]
        return subprocess.run(pattern, capture_output=True, text=True, timeout=5, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None


_warned = False


def _warn_once(characters: list[str]) -> None:
    global _warned
    if not _warned:
        _warned = True
        shown = ", ".join(f"U+{ord(character):04X}" for character in characters[:5])
        _log.warning(
            "no font on this machine has %s%s: boxes are drawn instead. Install a font (on Debian and Ubuntu, "
            "fonts-noto-cjk for Korean, Chinese and Japanese), or name one with %s=/path/to/font.ttf",
            shown,
            " and others" if len(characters) > 5 else "",
            FONT_VARIABLE,
        )
