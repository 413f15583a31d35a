"""The training settings, in one place: one preset for real models, one for the embedded model.

`--set NAME=VALUE` changes a setting for one run; `set_flag.py` derives the names from the classes here.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from fine_tuning.run.setting_kinds import NAMES, TRUTH, Kind, number, whole

LEARNING_RATE = number("a number above 0 and at most 1", lambda value: 0 < value <= 1)
# A dropout of 1 would train nothing, and transformers takes a warm-up of 1 for one step.
SHARE_BELOW_1 = number("a number from 0 to less than 1", lambda value: 0 <= value < 1)


def _setting(default: Any, kind: Kind, meaning: str) -> Any:
    """A field with what `--set` and `--help` need: which values it may have, and what it means."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """The adapter, which step 1 makes and the later steps take over."""

    rank: int = _setting(16, whole(1, 1024), "rank of the adapter's matrices")
    alpha: int = _setting(32, whole(1, 1_000_000), "the adapter's output is multiplied by alpha / rank")
    dropout: float = _setting(0.05, SHARE_BELOW_1, "dropout in the adapter in step 1; step 3 has none")
    modules: tuple[str, ...] = _setting(
        ("q_proj", "k_proj", "v_proj", "o_proj"), NAMES, "the model's linear layers that the adapter is added to"
    )


@dataclass(frozen=True, slots=True)
class SftSettings:
    """Step 1."""

    learning_rate: float = _setting(2e-4, LEARNING_RATE, "highest learning rate of step 1")
    epochs: int = _setting(4, whole(1, 1000), "times that step 1 trains on each row")


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Step 2."""

    samples_per_prompt: int = _setting(3, whole(1, 1000), "samples that step 2 draws for each prompt")
    temperature: float = _setting(
        1.0, number("a number from 0.01 to 100", lambda value: 0.01 <= value <= 100), "sampling temperature of step 2"
    )
    batch_size: int = _setting(
        64,
        whole(1, 100_000),
        "answers that are generated together, in validation too; a GPU with enough memory generates up to 256",
    )


@dataclass(frozen=True, slots=True)
class OrpoSettings:
    """Step 3."""

    learning_rate: float = _setting(1e-5, LEARNING_RATE, "highest learning rate of step 3")
    epochs: int = _setting(1, whole(1, 1000), "times that step 3 trains on each pair")
    lambda_: float = _setting(
        0.5,
        number("a number from 0 to 1000", lambda value: 0 <= value <= 1000),
        "weight of the odds-ratio term (lambda in the paper, beta in TRL)",
    )
    nll_over_prompt: bool = _setting(
        False,
        TRUTH,
        "true: the NLL is over prompt and chosen answer, as in TRL and the paper's code; false: over the chosen answer "
        "alone, as in the paper's equations and in step 1",
    )
    min_margin: float = _setting(
        0.05,
        number("a number from 0 to 1", lambda value: 0 <= value <= 1),
        "smallest difference in score between a chosen and a rejected answer",
    )


# Settings that run.json, sampling.json and logs do not store under their own names.
STORED_AS = {
    "min margin": "orpo.min_margin",  # its name in older workspaces
    "generation batch": "sampling.batch_size",
    "samples per prompt": "sampling.samples_per_prompt",
    "temperature": "sampling.temperature",
    "batch size": "sampling.batch_size",
}


@dataclass(frozen=True, slots=True)
class Preset:
    """All training settings."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    sft: SftSettings = field(default_factory=SftSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    orpo: OrpoSettings = field(default_factory=OrpoSettings)
    max_length: int = _setting(
        1536, whole(1, 1_000_000), "most tokens of a row, prompt and answer together; longer rows are left out"
    )
    warmup_ratio: float = _setting(0.03, SHARE_BELOW_1, "share of the steps in which the learning rate rises")
    gradient_checkpointing: bool = _setting(
        True, TRUTH, "true: compute each layer twice, to store the activations of only one layer at a time"
    )
    save_steps: int = _setting(100, whole(1, 1_000_000), "most steps between two checkpoints")

    def settings(self, step: int) -> dict[str, Any]:
        """Every setting that training in step 1 or 3 depends on, under the name that logs and run.json use.

        Settings of other steps are left out: a changed ORPO lambda must not make step 1 repeat.
        """
        own = _named("sft", self.sft) if step == 1 else _named("orpo", self.orpo)
        if step == 3:
            own["min margin"] = own.pop("orpo min margin")  # see STORED_AS
        return (
            _named("lora", self.lora)
            | own
            | {
                "warmup ratio": self.warmup_ratio,
                "generation batch": self.sampling.batch_size,
                "gradient checkpointing": self.gradient_checkpointing,
                "max length": self.max_length,
                "save steps": self.save_steps,
            }
        )


def _named(step: str, settings: Any) -> dict[str, Any]:
    return {f"{step} {name.rstrip('_').replace('_', ' ')}": value for name, value in asdict(settings).items()}


REAL = Preset()
# A model of a few million parameters needs a higher learning rate, and adapters on its MLPs too. Pairs with
# samples drawn at temperature 1 helped no more than at 1.5 (benchmarks/EXPERIMENTS.md). At this temperature it prefers
# the chosen answers from the start, so the odds ratio's gradient is small and lambda must be large.
EMBEDDED = Preset(
    lora=LoraSettings(
        dropout=0.0, modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    ),
    sft=SftSettings(learning_rate=1e-3),
    sampling=SamplingSettings(temperature=1.5, batch_size=50),
    orpo=OrpoSettings(learning_rate=1e-4, lambda_=25.0, min_margin=0.01),
    gradient_checkpointing=False,
    save_steps=200,
)
