"""The training settings, in one place: one preset for real models, one for the embedded model."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """Everything about training that is not a flag.

    `orpo_lambda` weighs ORPO's odds-ratio term (lambda in the paper, beta in TRL).
    `orpo_nll_over_prompt` takes ORPO's NLL over prompt and chosen answer, as TRL and the paper's code do, and not over
    the answer alone, as the paper's equations and step 1 do.
    `min_margin` is the smallest difference in score between a chosen and a rejected answer. `gradient_checkpointing`
    computes each layer twice to hold the activations of one layer alone.
    """

    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    lora_modules: tuple[str, ...]
    sft_learning_rate: float
    sft_epochs: int
    orpo_learning_rate: float
    orpo_epochs: int
    orpo_lambda: float
    orpo_nll_over_prompt: bool
    min_margin: float
    warmup_ratio: float
    samples_per_prompt: int
    temperature: float
    generation_batch: int
    gradient_checkpointing: bool
    max_length: int
    save_steps: int

    def settings(self, step: int) -> dict[str, Any]:
        """Every setting that training in step 1 or 3 follows, by a name for the log.

        Those of other steps are left out: another lambda of ORPO is no reason to do step 1 again.
        """
        of_others = ("orpo_", "min_margin") if step == 1 else ("sft_",)
        of_others += ("samples_per_prompt", "temperature")  # step 2's
        return {name.replace("_", " "): v for name, v in asdict(self).items() if not name.startswith(of_others)}


REAL = Preset(
    lora_rank=16,
    lora_alpha=32,
    lora_dropout=0.05,
    lora_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
    sft_learning_rate=2e-4,
    sft_epochs=4,
    orpo_learning_rate=1e-5,
    orpo_epochs=1,
    orpo_lambda=0.5,
    orpo_nll_over_prompt=False,
    min_margin=0.05,
    warmup_ratio=0.03,
    samples_per_prompt=3,
    temperature=1.0,
    generation_batch=64,
    gradient_checkpointing=True,
    max_length=1536,
    save_steps=100,
)
# A model of a few million parameters needs larger steps, and adapters on its MLPs too, to move as far. At temperature 1
# most of its samples are flawless, and leave ORPO few pairs to learn from. Warmer ones it prefers the least from the
# start, where the odds ratio's gradient is small: hence the large lambda.
EMBEDDED = replace(
    REAL,
    lora_dropout=0.0,
    lora_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    sft_learning_rate=1e-3,
    orpo_learning_rate=1e-4,
    orpo_epochs=2,
    orpo_lambda=25.0,
    min_margin=0.01,
    temperature=1.5,
    generation_batch=50,
    gradient_checkpointing=False,
    save_steps=200,
)


def preset_for(is_embedded: bool) -> Preset:
    """The preset of the embedded model or of any other."""
    return EMBEDDED if is_embedded else REAL
