"""The training settings of a step: the model's preset, the user's --set, and what later steps take over from step 1."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fine_tuning.run.errors import DamagedFile, UserError, about
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED, REAL, Preset
from fine_tuning.run.run_state import RunState
from fine_tuning.run.set_flag import SETTINGS, set_flags, setting_stored_as, stored_settings, with_settings
from fine_tuning.run.setting_kinds import as_text

# Rows that step 1 had room for fit later too, unless the user says otherwise.
DEFAULTS_OF_LATER_STEPS = ("max_length",)


def preset_for(options: Options) -> Preset:
    """The model's preset with the settings that the user has given."""
    return with_settings(_model_preset(options), options.settings_given)


def preset_after_step_1(options: Options) -> tuple[Preset, str]:
    """The preset of a step that uses step 1's adapter, and a line that names what it takes over; empty if nothing.

    The adapter's own settings, `lora.*`, are always step 1's. `max_length` is, unless the user has given another one.
    Raises UserError if the user has given another value for one of the adapter's settings, or if run.json holds an
    impossible one. Without a readable run of step 1, the preset is `preset_for`; `check_step_1` reports that.
    """
    state = RunState(options.workspace.sft_model)
    try:
        run = state.read()
    except DamagedFile:
        run = None
    command = options.command("sft_fine_tuning")
    stored = {
        stored_name: value
        for stored_name, value in (run["settings"] if run else {}).items()
        if (setting := setting_stored_as(stored_name))
        and (setting.group == "lora" or setting.name in DEFAULTS_OF_LATER_STEPS)
    }
    try:
        with about(state.path):
            trained = stored_settings(stored)
    except UserError as error:
        raise UserError(*(f"{problem}. Repeat step 1: {command} --restart" for problem in error.problems)) from None
    given = options.settings_given
    adapter = {name: value for name, value in trained.items() if name not in DEFAULTS_OF_LATER_STEPS}
    if other := {name: given[name] for name in adapter if name in given and given[name] != adapter[name]}:
        was = ", ".join(_assigned({name: adapter[name] for name in other}))
        repeated = options_of_run(options, run["settings"] if run else {}).settings_given | given
        command = replace(options, set_values=tuple(repeated.items())).command("sft_fine_tuning")
        raise UserError(
            f"{' '.join(set_flags(other))}: step 1 has trained its adapter with {was}, and later steps use the same "
            f"adapter. Leave that out, or repeat step 1 with it: {command} --restart"
        )
    preset = preset_for(options)
    taken = {
        name: value for name, value in trained.items() if name not in given and value != SETTINGS[name].value_in(preset)
    }
    line = f"taken over from step 1: {', '.join(_assigned(taken))}" if taken else ""
    return with_settings(preset, taken), line


def options_of_run(options: Options, stored: Mapping[str, Any]) -> Options:
    """The options with the settings of a stored run in place of the user's: `command` then continues that run."""
    options = options.as_stored(stored)
    try:
        values = stored_settings(stored)
    except UserError:
        return options
    preset = _model_preset(options)
    own = {name: value for name, value in values.items() if value != SETTINGS[name].value_in(preset)}
    return replace(options, set_values=tuple(own.items()))


def _model_preset(options: Options) -> Preset:
    return EMBEDDED if options.is_embedded else REAL


def _assigned(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={as_text(value)}" for name, value in values.items()]
