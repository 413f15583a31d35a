"""The training settings, in one place: one preset for real models, one for the embedded model."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """The adapter: rank, alpha, dropout in [0, 1], and the names of the modules that it is added to."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True, slots=True)
class SftSettings:
    """Step 1."""

    learning_rate: float = 2e-4
    epochs: int = 4


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Step 2. `batch_size` is the number of answers generated together, in validation too."""

    samples_per_prompt: int = 3
    temperature: float = 1.0
    batch_size: int = 64


@dataclass(frozen=True, slots=True)
class OrpoSettings:
    """Step 3.

    lambda_          weight of the odds-ratio term (lambda in the paper, beta in TRL)
    nll_over_prompt  True: the NLL is over prompt and chosen answer, as in TRL and the paper's code
                     False: over the chosen answer alone, as in the paper's equations and in step 1
    min_margin       smallest difference in score between a chosen and a rejected answer
    """

    learning_rate: float = 1e-5
    epochs: int = 1
    lambda_: float = 0.5
    nll_over_prompt: bool = False
    min_margin: float = 0.05


@dataclass(frozen=True, slots=True)
class Preset:
    """All training settings that are not flags.

    max_length              tokens of a row, prompt and answer together
    warmup_ratio            share of the steps in which the learning rate rises
    gradient_checkpointing  compute each layer twice, to store the activations of only one layer at a time
    save_steps              steps between two checkpoints
    """

    lora: LoraSettings = field(default_factory=LoraSettings)
    sft: SftSettings = field(default_factory=SftSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    orpo: OrpoSettings = field(default_factory=OrpoSettings)
    max_length: int = 1536
    warmup_ratio: float = 0.03
    gradient_checkpointing: bool = True
    save_steps: int = 100

    def settings(self, step: int) -> dict[str, Any]:
        """Every setting that training in step 1 or 3 depends on, under the name that logs and run.json use.

        Settings of other steps are left out: a changed ORPO lambda must not make step 1 repeat.
        """
        own = _named("sft", self.sft) if step == 1 else _named("orpo", self.orpo)
        if step == 3:
            own["min margin"] = own.pop("orpo min margin")  # its name in older workspaces
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
# A model of a few million parameters needs a higher learning rate, and adapters on its MLPs too. At temperature 1 most
# of its samples are flawless and leave few pairs for ORPO. At a higher temperature it prefers the chosen answers from
# the start, so the odds ratio's gradient is small and lambda must be large.
EMBEDDED = Preset(
    lora=LoraSettings(
        dropout=0.0, modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    ),
    sft=SftSettings(learning_rate=1e-3),
    sampling=SamplingSettings(temperature=1.5, batch_size=50),
    orpo=OrpoSettings(learning_rate=1e-4, epochs=2, lambda_=25.0, min_margin=0.01),
    gradient_checkpointing=False,
    save_steps=200,
)


def preset_for(is_embedded: bool) -> Preset:
    """The preset of the embedded model, or the one for all other models."""
    return EMBEDDED if is_embedded else REAL
