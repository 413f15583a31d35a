"""`--set NAME=VALUE`: every training setting has a name, and a wrong name or value is refused with what is right."""

from dataclasses import asdict

import pytest
from helpers import problems_of
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED, REAL, SamplingSettings
from fine_tuning.run.set_flag import SETTINGS, read_settings, setting_stored_as, settings_help, with_settings
from fine_tuning.run.setting_kinds import as_text
from fine_tuning.run.step_preset import preset_for

NAMES = [
    "lora.rank", "lora.alpha", "lora.dropout", "lora.modules", "sft.learning_rate", "sft.epochs",
    "sampling.samples_per_prompt", "sampling.temperature", "sampling.batch_size", "orpo.learning_rate", "orpo.epochs",
    "orpo.lambda", "orpo.nll_over_prompt", "orpo.min_margin", "max_length", "warmup_ratio", "gradient_checkpointing",
    "save_steps",
]  # fmt: skip
OTHER = {
    "lora.rank": "8", "lora.alpha": "9", "lora.dropout": "0.5", "lora.modules": "v_proj", "sft.learning_rate": "1e-3",
    "sft.epochs": "2", "sampling.samples_per_prompt": "5", "sampling.temperature": ".7", "sampling.batch_size": "7",
    "orpo.learning_rate": "2e-5", "orpo.epochs": "3", "orpo.lambda": "0", "orpo.nll_over_prompt": "TRUE",
    "orpo.min_margin": "0.25", "max_length": "99", "warmup_ratio": "0.5", "gradient_checkpointing": "false",
    "save_steps": "7",
}  # fmt: skip


def options_of(*flags: str) -> Options:
    return to_options(make_parser("").parse_args(list(flags)))


def test_every_setting_of_the_presets_has_a_name():
    assert list(SETTINGS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_changes_its_field_and_nothing_else(name):
    changed = preset_for(options_of("--set", f"{name}={OTHER[name]}"))
    assert as_text(SETTINGS[name].value_in(changed)) != as_text(SETTINGS[name].value_in(REAL))
    assert with_settings(changed, {name: SETTINGS[name].value_in(REAL)}) == REAL


@pytest.mark.parametrize("preset", [REAL, EMBEDDED], ids=["real", "embedded"])
@pytest.mark.parametrize("name", NAMES)
def test_the_default_is_a_value_that_a_user_may_give_and_keeps_its_type(preset, name):
    value = SETTINGS[name].value_in(preset)
    (read,) = read_settings([f"{name}={as_text(value)}"]).values()
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_meaning_and_defaults(monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "120")
    shown = " ".join(settings_help().split())
    assert f"{name} {SETTINGS[name].meaning} (default: {as_text(SETTINGS[name].value_in(REAL))}" in shown


def test_help_shows_the_embedded_models_default_where_it_differs():
    shown = " ".join(settings_help().split())
    assert "(default: 0.0002; embedded: 0.001)" in shown and "(default: 0.03)" in shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sft.epoch=2", "there is no setting 'sft.epoch'. Did you mean sft.epochs?"),
        ("SFT.Epochs=2", "there is no setting 'SFT.Epochs'. Did you mean sft.epochs?"),
        ("sft-epochs=2", "there is no setting 'sft-epochs'. Did you mean sft.epochs?"),
        ("epochs=2", "there is no setting 'epochs'. Did you mean sft.epochs or orpo.epochs?"),
        ("orpo.lambda_=2", "there is no setting 'orpo.lambda_'. Did you mean orpo.lambda?"),
        ("quality=2", "there is no setting 'quality'. --help lists all settings; an example: --set sft.epochs=2"),
        ("=2", "there is no setting ''. --help lists all settings; an example: --set sft.epochs=2"),
        ("sft.epochs", "the value is missing. Give it after an equals sign, as in --set sft.epochs=4"),
        ("sft.epochs=", "sft.epochs is ''; it must be a whole number from 1 to 1000"),
        ("sft.epochs=2.0", "sft.epochs is '2.0'; it must be a whole number from 1 to 1000"),
        ("sft.epochs=0", "sft.epochs is '0'; it must be a whole number from 1 to 1000"),
        ("sft.epochs=-1", "sft.epochs is '-1'; it must be a whole number from 1 to 1000"),
        ("sft.epochs=٢", "sft.epochs is '٢'; it must be a whole number from 1 to 1000"),
        ("sft.epochs=1_0", "sft.epochs is '1_0'; it must be a whole number from 1 to 1000"),
        ("sft.learning_rate=0", "sft.learning_rate is '0'; it must be a number above 0 and at most 1"),
        ("sft.learning_rate=nan", "sft.learning_rate is 'nan'; it must be a number above 0 and at most 1"),
        ("orpo.lambda=inf", "orpo.lambda is 'inf'; it must be a number from 0 to 1000"),
        ("orpo.lambda=1e999", "orpo.lambda is '1e999'; it must be a number from 0 to 1000"),
        ("orpo.min_margin=1.5", "orpo.min_margin is '1.5'; it must be a number from 0 to 1"),
        ("warmup_ratio=1", "warmup_ratio is '1'; it must be a number from 0 to less than 1"),
        ("lora.dropout=0,1", "lora.dropout is '0,1'; it must be a number from 0 to less than 1"),
        ("gradient_checkpointing=0", "gradient_checkpointing is '0'; it must be true or false"),
        *(
            (f"lora.modules={bad}", "it must be different names of modules, separated by commas")
            for bad in ("", "q_proj,", "q_proj,q_proj", "self_attn.q_proj", "q proj", ".*")
        ),
    ],
)
def test_a_wrong_name_or_value_is_refused_with_what_is_right(given, said):
    (problem,) = problems_of(read_settings, [given])
    assert problem.startswith(f"--set {given}: ") and problem.endswith(said)


def test_a_value_of_thousands_of_digits_is_refused_in_a_short_message():
    (problem,) = problems_of(read_settings, [f"max_length={'9' * 10_000}"])
    assert "it must be a whole number" in problem and len(problem) < 300


@pytest.mark.parametrize("zero", ["0", "-0", "-0.0", "-1e-400"])
def test_zero_has_no_sign(zero):
    (value,) = read_settings([f"orpo.lambda={zero}"]).values()
    assert as_text(value) == "0.0"


def test_all_problems_are_reported_together_with_those_of_other_flags(tmp_path):
    (tmp_path / "file").touch()
    flags = ["--workspace", str(tmp_path / "file"), "--set", "epochs=2", "--set=lora.rank=x", "--set", "lora.alpha=1"]
    problems = problems_of(options_of, *flags)
    assert [problem.split(":")[0] for problem in problems] == [
        f"--workspace {tmp_path / 'file'}", "--set epochs=2", "--set lora.rank=x",
    ]  # fmt: skip


def test_a_setting_with_two_values_is_refused_and_the_same_value_twice_is_not():
    (problem,) = problems_of(read_settings, ["orpo.lambda=1", "orpo.lambda=2"])
    assert problem == "--set orpo.lambda=2: another flag is --set orpo.lambda=1.0. Give each setting one value"
    assert read_settings(["orpo.lambda=1", "orpo.lambda=1.0"]) == {"orpo.lambda": 1.0}


def test_the_order_of_flags_and_of_modules_makes_no_difference():
    flags = ["--set=lora.modules=up_proj, wqkv,attn,q_proj", "--set", "lora.rank=8"]
    options = options_of(*flags)
    assert options == options_of(*reversed([flags[0], "--set=lora.rank=8"]))
    assert options.settings_given == {"lora.rank": 8, "lora.modules": ("q_proj", "up_proj", "attn", "wqkv")}


def test_suggested_commands_repeat_the_settings():
    options = options_of("--set", "orpo.nll_over_prompt=true", "--set", "lora.modules=v_proj,q_proj", "--seed", "7")
    command = options.command("orpo_fine_tuning")
    assert command.endswith("--seed 7 --set lora.modules=q_proj,v_proj --set orpo.nll_over_prompt=true")
    assert isinstance(hash(options), int)


def test_only_what_the_user_gave_is_among_the_given_settings():
    assert options_of().settings_given == {}
    assert options_of("--set", "max_length=1536").settings_given == {"max_length": 1536}  # though it is the default


def test_every_stored_setting_can_be_traced_to_its_flag():
    stored = {*REAL.settings(1), *REAL.settings(3), *(name.replace("_", " ") for name in asdict(SamplingSettings()))}
    found = {name: setting_stored_as(name) for name in stored}
    assert None not in found.values()
    assert {setting.name for setting in found.values() if setting} == set(NAMES)


@given(st.lists(st.text(max_size=20) | st.builds("{}={}".format, st.sampled_from(NAMES), st.text(max_size=12))))
def test_any_text_is_read_or_refused_with_a_message_that_names_the_flag(texts):
    try:
        values = read_settings(texts)
    except UserError as error:
        assert all(problem.startswith("--set ") for problem in error.problems)
    else:
        assert with_settings(REAL, values) and set(values) <= set(NAMES)
