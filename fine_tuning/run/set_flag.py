"""The flag `--set NAME=VALUE`: the names, values and meanings of all training settings, derived from the presets."""

import difflib
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from fine_tuning.run.errors import UserError
from fine_tuning.run.presets import EMBEDDED, REAL, STORED_AS, Preset
from fine_tuning.run.setting_kinds import Kind, as_text

EXAMPLE = "sft.epochs=2"
LONGEST_SHOWN = 60  # characters of a wrong name or value in a message
WIDEST_HELP = 120  # columns


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a preset or of one of its groups. `name` is what --set calls it."""

    name: str
    group: str
    attribute: str
    kind: Kind
    meaning: str

    def value_in(self, preset: Preset) -> Any:
        return getattr(getattr(preset, self.group) if self.group else preset, self.attribute)

    def read(self, text: str) -> Any:
        """The value that `text` means. Raises UserError, which says what the value must be."""
        try:
            return self.kind.read(text.strip())
        except ValueError:
            raise UserError(f"it must be {self.kind.must_be}") from None


def _settings_of(preset: Preset) -> dict[str, Setting]:
    found = {}
    for field in fields(preset):
        value = getattr(preset, field.name)
        group, members = (field.name, fields(value)) if is_dataclass(value) else ("", (field,))
        for member in members:
            own = member.name.rstrip("_")
            name = f"{group}.{own}" if group else own
            found[name] = Setting(name, group, member.name, member.metadata["kind"], member.metadata["meaning"])
    return found


SETTINGS = _settings_of(REAL)
_STORED = {name.replace(".", " ").replace("_", " "): name for name in SETTINGS} | STORED_AS


def read_settings(given: Iterable[str]) -> dict[str, Any]:
    """The values by name, in the order of SETTINGS, for what the user gave after each --set.

    Raises UserError with every problem.
    """
    values: dict[str, Any] = {}
    problems = []
    for text in given:
        flag = f"--set {_clipped(text)}"
        name, sign, value_text = (part.strip() for part in text.partition("="))
        setting = SETTINGS.get(name)
        if setting is None:
            problems.append(f"{flag}: there is no setting {_clipped(name)!r}. {_nearest(name)}")
        elif not sign:
            value = as_text(setting.value_in(REAL))
            problems.append(f"{flag}: the value is missing. Give it after an equals sign, as in --set {name}={value}")
        else:
            try:
                value = setting.read(value_text)
            except UserError as error:
                problems.append(f"{flag}: {name} is {_clipped(value_text)!r}; {error}")
                continue
            if name in values and values[name] != value:
                other = f"{name}={as_text(values[name])}"
                problems.append(f"{flag}: another flag is --set {other}. Give each setting one value")
            values.setdefault(name, value)
    if problems:
        raise UserError(*problems)
    return {name: values[name] for name in SETTINGS if name in values}


def with_settings(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """The preset with other values for the settings in `values`, which are given by name."""
    for name, value in values.items():
        setting = SETTINGS[name]
        change: dict[str, Any] = {setting.attribute: value}
        if setting.group:
            change = {setting.group: replace(getattr(preset, setting.group), **change)}
        preset = replace(preset, **change)
    return preset


def set_flags(values: Mapping[str, Any]) -> list[str]:
    """The words of the command line that give these settings."""
    return [word for name, value in values.items() for word in ("--set", f"{name}={as_text(value)}")]


def setting_stored_as(stored_name: str) -> Setting | None:
    """The setting that run.json, sampling.json and logs store under this name; None if it is not a setting."""
    return SETTINGS.get(_STORED.get(stored_name, ""))


def stored_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by name, among what a run has stored. Raises UserError for a value that no run has stored."""
    values, problems = {}, []
    for stored_name, value in stored.items():
        if setting := setting_stored_as(stored_name):
            try:
                values[setting.name] = setting.read(as_text(value))
            except UserError as error:
                problems.append(f"{stored_name} is {value!r}; {error}")
    if problems:
        raise UserError(*problems)
    return {name: values[name] for name in SETTINGS if name in values}


def settings_help() -> str:
    """Every setting with its meaning and default, for --help."""
    width = max(map(len, SETTINGS)) + 2
    columns = min(WIDEST_HELP, shutil.get_terminal_size().columns) - 4
    lines = []
    for name, setting in SETTINGS.items():
        default, embedded = (as_text(setting.value_in(preset)) for preset in (REAL, EMBEDDED))
        text = f"{setting.meaning} (default: {default}{f'; embedded: {embedded}' if embedded != default else ''})"
        lines += textwrap.wrap(
            text,
            max(columns, width + 20),
            initial_indent=f"{name:{width}}",
            subsequent_indent=" " * width,
            break_long_words=False,
        )
    return "\n".join(lines)


def _nearest(name: str) -> str:
    """Which setting a wrong name may mean."""
    plain = name.lower().replace("-", "_").replace(" ", "_").strip("_")
    same_end = [known for known in SETTINGS if known.rpartition(".")[2] == plain.rpartition(".")[2]]
    near = (
        [plain]
        if plain in SETTINGS
        else same_end or difflib.get_close_matches(plain[:LONGEST_SHOWN], SETTINGS, n=1, cutoff=0.5)
    )
    return f"Did you mean {' or '.join(near)}?" if near else f"--help lists all settings; an example: --set {EXAMPLE}"


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
