"""What Git does to the files here: every checkout has the same bytes, whatever the system and its settings."""

import subprocess
from functools import cache

import pytest
from helpers import ROOT

BINARY = (".safetensors", ".png")


def git(*arguments: str, feed: str = "") -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], input=feed, capture_output=True, encoding="utf-8", check=True, timeout=30
    ).stdout


@cache
def attributes() -> dict[str, dict[str, str]]:
    """The attributes `text` and `eol` of every tracked file, by path."""
    try:
        top = git("rev-parse", "--show-toplevel").strip()
    except (OSError, subprocess.CalledProcessError):
        top = ""
    if not top or not ROOT.samefile(top):
        pytest.skip("not a Git checkout (or no git): there are no attributes to check")
    fields = git("check-attr", "-z", "--stdin", "text", "eol", feed=git("ls-files", "-z")).split("\0")
    found: dict[str, dict[str, str]] = {}
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        found.setdefault(path, {})[name] = value
    return found


def test_every_text_file_keeps_its_newlines_on_windows_too():
    texts = {path: each for path, each in attributes().items() if not path.endswith(BINARY)}
    assert len(texts) > 100
    assert [path for path, each in texts.items() if each["eol"] != "lf"] == []


@pytest.mark.parametrize("ending", [".csv", ".jinja", ".json", ".ci/run"])
def test_what_runs_depend_on_byte_by_byte_is_text_by_rule_not_by_guess(ending):
    paths = [path for path in attributes() if path.endswith(ending)]
    assert paths and all(attributes()[path]["text"] == "set" for path in paths)


@pytest.mark.parametrize("ending", BINARY)
def test_weights_and_pictures_are_never_converted(ending):
    paths = [path for path in attributes() if path.endswith(ending)]
    assert paths and all(attributes()[path]["text"] == "unset" for path in paths)


def test_no_text_file_has_a_carriage_return():
    texts = [path for path in attributes() if not path.endswith(BINARY) and (ROOT / path).exists()]
    assert [path for path in texts if b"\r" in (ROOT / path).read_bytes()] == []
