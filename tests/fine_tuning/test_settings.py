"""Settings given by --set, from step to step: each step compares its own, and later steps take over the adapter's."""

from pathlib import Path

import pytest
from helpers import EMBEDDED_RUN, STEP_1, STEP_2, STEP_3, problems_of

from fine_tuning.run import sample_store
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.files import sha256
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.run_state import RunState, changes
from fine_tuning.run.step_order import sampling_settings
from fine_tuning.run.step_preset import preset_after_step_1, preset_for

TRAINED = ("--set", "lora.rank=8", "--set", "lora.modules=q_proj,v_proj", "--set", "max_length=900")


def options_of(workspace: Path, *flags: str) -> Options:
    return to_options(make_parser("").parse_args([*EMBEDDED_RUN, str(workspace), *flags]))


def finish_step_1(workspace: Path, *flags: str, finished: bool = True) -> None:
    """Write what step 1 leaves in a workspace when it is started with these flags, with a fake adapter."""
    options = options_of(workspace, *flags)
    state = RunState(options.workspace.sft_model)
    data = {"data sha256": sha256(options.workspace.sft_csv), "style fixed": True, "order fixed": True}
    settings = options.settings() | data | preset_for(options).settings(step=1)
    state.begin(settings, restart=False)
    (state.folder / "adapter_model.safetensors").write_bytes(b"an adapter")
    if finished:
        state.finish(settings, {"final average training loss": 0.1})


def test_later_steps_take_over_the_adapters_settings_and_say_so(workspace):
    finish_step_1(workspace, *TRAINED, "--set", "sft.epochs=2", "--set", "warmup_ratio=0.5")
    preset, line = preset_after_step_1(options_of(workspace, "--set", "orpo.epochs=5"))
    assert line == "taken over from step 1: lora.rank=8, lora.modules=q_proj,v_proj, max_length=900"
    assert (preset.lora.rank, preset.lora.modules, preset.max_length) == (8, ("q_proj", "v_proj"), 900)
    assert (preset.orpo.epochs, preset.sft, preset.warmup_ratio) == (5, EMBEDDED.sft, EMBEDDED.warmup_ratio)


@pytest.mark.parametrize("flags", [(), TRAINED], ids=["defaults", "the same flags"])
def test_nothing_is_said_where_later_steps_have_the_same_settings(workspace, flags):
    finish_step_1(workspace, *flags)
    options = options_of(workspace, *flags)
    assert preset_after_step_1(options) == (preset_for(options), "")


def test_later_steps_may_have_a_length_limit_of_their_own(workspace):
    finish_step_1(workspace, *TRAINED)
    assert preset_after_step_1(options_of(workspace, "--set", "max_length=1536"))[0].max_length == 1536


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_another_adapter_than_step_1s_is_refused_in_one_line(refused, workspace, script):
    finish_step_1(workspace, *TRAINED)
    flags = ["--set", "lora.alpha=64", "--set", "lora.rank=16"]
    (message,) = refused(script, *EMBEDDED_RUN, workspace, *flags)
    begin = (
        "error: --set lora.rank=16 --set lora.alpha=64: step 1 has trained its adapter with lora.rank=8, lora.alpha=32"
    )
    assert message.startswith(begin)
    own = "--set lora.rank=16 --set lora.modules=q_proj,v_proj --set max_length=900 --set lora.alpha=64"
    assert message.endswith(f"python {STEP_1} {' '.join(EMBEDDED_RUN)} {workspace} {own} --restart")


def test_steps_start_without_repeating_the_settings_of_the_adapter(start, workspace):
    finish_step_1(workspace, *TRAINED)
    run = start(STEP_2, *EMBEDDED_RUN, workspace)
    assert run.stdout == "taken over from step 1: lora.rank=8, lora.modules=q_proj,v_proj, max_length=900\n"
    assert run.stderr.endswith(" was imported\n")


def test_ask_takes_over_the_adapters_settings(start, workspace):
    finish_step_1(workspace, *TRAINED)
    run = start("fine_tuning/ask.py", *EMBEDDED_RUN, workspace, "sales data -> price model")
    assert "taken over from step 1: lora.rank=8" in run.stderr and run.stdout == ""


def test_a_stored_setting_that_no_run_has_stored_is_refused_with_the_file(workspace):
    finish_step_1(workspace)
    path = workspace / "models" / "sft" / "run.json"
    path.write_text(path.read_text().replace('"lora rank": 16', '"lora rank": "many"'))
    (problem,) = problems_of(preset_after_step_1, options_of(workspace))
    assert problem.startswith(f"{path}: lora rank is 'many'; it must be a whole number from 1 to 1024. Repeat step 1: ")


def test_a_run_without_stored_settings_of_the_adapter_has_the_presets(workspace):
    state = RunState(workspace / "models" / "sft")
    state.begin({"model": "embedded"}, restart=False)
    assert preset_after_step_1(options_of(workspace)) == (EMBEDDED, "")


def test_a_changed_setting_is_named_with_the_flag_that_keeps_it(refused, workspace):
    finish_step_1(workspace, *TRAINED, finished=False)
    (message,) = refused(STEP_1, *EMBEDDED_RUN, workspace, "--set", "lora.rank=8", "--set", "sft.epochs=2")
    assert "lora modules was ['q_proj', 'v_proj'] and is now ['q_proj', 'k_proj'," in message
    assert "(to keep it: --set lora.modules=q_proj,v_proj)" in message
    assert "sft epochs was 4 and is now 2 (to keep it: --set sft.epochs=4)" in message
    assert "lora rank" not in message


def test_the_command_that_continues_an_earlier_step_has_that_steps_settings(refused, workspace):
    finish_step_1(workspace, *TRAINED, finished=False)
    (message,) = refused(STEP_2, *EMBEDDED_RUN, workspace, "--set", "sampling.temperature=2")
    assert message.endswith(f"Continue it: python {STEP_1} {' '.join(EMBEDDED_RUN)} {workspace} {' '.join(TRAINED)}")


def test_the_command_that_continues_step_2_has_its_settings(refused, workspace):
    finish_step_1(workspace)
    options = options_of(workspace, "--set", "sampling.temperature=2")
    sample_store.begin(options.workspace.orpo_csv, sampling_settings(options, preset_for(options)), [6])
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace, "--set", "orpo.epochs=3")
    assert message.endswith(
        f"Continue it: python {STEP_2} {' '.join(EMBEDDED_RUN)} {workspace} --set sampling.temperature=2.0"
    )


@pytest.mark.parametrize(
    ("flag", "steps"),
    [
        ("lora.rank=8", {1, 3}),
        ("lora.dropout=0.3", {1, 3}),
        ("sft.learning_rate=0.5", {1}),
        ("sft.epochs=2", {1}),
        ("sampling.samples_per_prompt=2", {2}),
        ("sampling.temperature=2", {2}),
        ("sampling.batch_size=7", {2}),
        ("orpo.learning_rate=0.5", {3}),
        ("orpo.epochs=9", {3}),
        ("orpo.lambda=3", {3}),
        ("orpo.nll_over_prompt=true", {3}),
        ("orpo.min_margin=0.5", {3}),
        ("max_length=900", {1, 2, 3}),
        ("warmup_ratio=0.5", {1, 3}),
        ("gradient_checkpointing=true", {1, 3}),
        ("save_steps=7", set()),
    ],
)
def test_a_changed_setting_makes_only_the_steps_repeat_that_depend_on_it(workspace, flag, steps):
    finish_step_1(workspace)

    def settings_of(step: int, *flags: str) -> dict:
        options = options_of(workspace, *flags)
        preset = preset_for(options)
        return sampling_settings(options, preset) if step == 2 else preset.settings(step)

    assert {step for step in (1, 2, 3) if changes(settings_of(step), settings_of(step, "--set", flag))} == steps


def test_run_all_reports_wrong_settings_before_the_first_step(refused, workspace):
    messages = refused("fine_tuning/run_all.py", *EMBEDDED_RUN, workspace, "--set", "epochs=2", "--set=lora.rank=0")
    assert [message.split(": ")[1] for message in messages] == ["--set epochs=2", "--set lora.rank=0"]
