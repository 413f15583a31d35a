"""Compare this project's ORPO loss, log-probabilities and gradients with TRL's, on the same pairs.

    python benchmarks/loss_equality.py [--full-width] [--record]

This project computes the loss in chunks of tokens, on sequences that contain the prompt once. TRL's ORPOTrainer does
neither. Here, both take the NLL over prompt and answer, as TRL does.

The models are the embedded one, and two layers of deepseek-coder's architecture with random weights: narrow, or in
full width with --full-width. The LoRA adapters are not freshly initialised, because half of their gradients would be
zero. The difference of a gradient is relative to the largest entry of TRL's gradient.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.architecture import REAL_ARCHITECTURE
from benchmarks.baselines import ORPOConfig, StockOrpoTrainer, stock_pairs
from benchmarks.report import benchmark_parser, flags_given, report
from fine_tuning.run.markdown import table
from fine_tuning.run.options import EMBEDDED_FOLDER
from fine_tuning.training import orpo_loss
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.pair_batch import EncodedPair, collate_pairs

NARROW = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 4}
LAMBDA = 0.5
# Number of tokens of prompt, chosen and rejected answer.
LENGTHS = {"equal": [(20, 40, 40)], "very unequal": [(20, 90, 3)]}
LENGTHS |= {f"{name}, 3 pairs": [*lengths, (7, 12, 31), (33, 1, 60)] for name, lengths in LENGTHS.items()}
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each side computes from a batch of B pairs."""

    loss: Tensor
    nll: float
    log_odds_ratio: float
    chosen: Tensor  # log-probabilities [B]
    rejected: Tensor  # log-probabilities [B]
    gradients: dict[str, Tensor]  # by name of the LoRA weight


@dataclass(frozen=True, slots=True)
class Differences:
    """The largest absolute differences. Those of a gradient are relative to the largest entry of TRL's gradient."""

    loss: float
    log_probs: float
    gradients: float

    @property
    def largest(self) -> float:
        return max(self.loss, self.log_probs, self.gradients)


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--full-width", action="store_true", help="full width, 2,048: takes about 10 GiB of memory")
    args = parser.parse_args()
    width = {} if args.full_width else NARROW
    real = partial(random_model, REAL_ARCHITECTURE | width)
    models: list[tuple[str, Callable[[], LlamaForCausalLM], torch.dtype]] = [
        ("embedded", embedded_model, torch.float64),
        ("real architecture, 2 layers", real, torch.float64),
        ("real architecture, 2 layers", real, torch.float32),
    ]
    rows, figures = [], {}
    for name, make_model, dtype in models:
        model = with_adapter(make_model()).to(dtype).eval()
        dtype_name = str(dtype).removeprefix("torch.")
        for lengths, pairs in LENGTHS.items():
            found = differences(model, encoded_pairs(pairs))
            cells = [f"{value:.1e}" for value in (found.loss, found.log_probs, found.gradients)]
            verdict = "yes" if found.largest <= TOLERANCE[dtype] else "NO"
            rows.append([name, dtype_name, lengths, *cells, f"{TOLERANCE[dtype]:.0e}", verdict])
            figures[f"{name}, {dtype_name}, {lengths}"] = found.largest
        del model
    columns = ["model", "dtype", "answers", "loss", "log-probabilities", "gradients", "allowed", "equal"]
    report(
        "ORPO loss against TRL's, largest differences",
        f"python benchmarks/loss_equality.py{flags_given()}",
        table(columns, rows),
        figures,
        args.record,
    )


def embedded_model() -> LlamaForCausalLM:
    """Load the committed embedded model."""
    return LlamaForCausalLM.from_pretrained(EMBEDDED_FOLDER)


def random_model(config: Mapping[str, Any]) -> LlamaForCausalLM:
    """Build two layers of an architecture, with random weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**config, "num_hidden_layers": 2}))


def with_adapter(model: LlamaForCausalLM) -> PeftModel:
    """Add a LoRA adapter with random weights. In a freshly initialised one, half of the gradients would be zero."""
    torch.manual_seed(1)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_dropout=0.0, target_modules=modules))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return adapted


def encoded_pairs(lengths: Sequence[tuple[int, int, int]], vocabulary: int = 1500) -> list[EncodedPair]:
    """Make pairs of random token ids. `lengths` are those of prompt, chosen and rejected answer."""
    rng = Random(0)
    return [
        {
            part: [rng.randrange(3, vocabulary) for _ in range(length)]
            for part, length in zip(("prompt", "chosen", "rejected"), pair, strict=True)
        }
        for pair in lengths
    ]


def differences(model: PeftModel, pairs: Sequence[EncodedPair]) -> Differences:
    """Compute both outcomes and return their differences. Raises ValueError if they train different weights."""
    stock, ours = stock_outcome(model, pairs), own_outcome(model, pairs)
    if ours.gradients.keys() != stock.gradients.keys():
        raise ValueError("this project and TRL have gradients for different weights")
    scalars = [(float(ours.loss), float(stock.loss)), (ours.nll, stock.nll)]
    scalars += [(ours.log_odds_ratio, stock.log_odds_ratio)]
    log_probs = [(ours.chosen, stock.chosen), (ours.rejected, stock.rejected)]
    return Differences(
        max(abs(a - b) for a, b in scalars),
        max(float((a - b).abs().max()) for a, b in log_probs),
        max(
            float((ours.gradients[name] - gradient).abs().max() / gradient.abs().max())
            for name, gradient in stock.gradients.items()
        ),
    )


def own_outcome(model: PeftModel, pairs: Sequence[EncodedPair]) -> Outcome:
    """Compute the outcome with this project's loss. Chunks are 25 tokens, so even these short pairs take several."""
    base: Any = model.get_base_model()
    with patch.object(orpo_loss, "CHUNK_LOGITS", 25 * model.config.vocab_size):
        found = pair_loss(base, collate_pairs(pairs), LAMBDA, nll_over_prompt=True)
        gradients = gradients_of(model, found.loss)
    return Outcome(
        found.loss.detach(),
        float(found.nll),
        float(found.log_odds_ratios.mean()),
        found.chosen_log_probs,
        found.rejected_log_probs,
        gradients,
    )


def stock_outcome(model: PeftModel, pairs: Sequence[EncodedPair]) -> Outcome:
    """Compute the outcome with TRL's ORPOTrainer."""
    base: Any = model.get_base_model()
    base.set_attn_implementation("sdpa")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ORPOConfig(
            output_dir=folder, beta=LAMBDA, use_cpu=True, report_to="none", bf16=False, gradient_checkpointing=False,
            max_length=4096, remove_unused_columns=False, per_device_train_batch_size=len(pairs),
        )  # fmt: skip
        trainer = StockOrpoTrainer(
            model=model,
            args=arguments,
            train_dataset=stock_pairs(pairs),
            processing_class=AutoTokenizer.from_pretrained(EMBEDDED_FOLDER),
        )
    rows: Any = trainer.train_dataset
    batch = trainer.data_collator([rows[k] for k in range(len(pairs))])
    chosen, rejected, *_ = trainer.concatenated_forward(model, batch)
    loss, metrics = trainer.get_batch_loss_metrics(model, batch)
    return Outcome(
        loss.detach(),
        float(metrics["nll_loss"]),
        float(metrics["log_odds_chosen"]),
        chosen.detach(),
        rejected.detach(),
        gradients_of(model, loss),
    )


def gradients_of(model: PeftModel, loss: Tensor) -> dict[str, Tensor]:
    """Return the gradient of every trained weight, by name."""
    model.zero_grad()
    loss.backward()
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return {name: weight.grad.clone() for name, weight in trained}  # type: ignore[union-attr]  # the loss reaches all


if __name__ == "__main__":
    main()
