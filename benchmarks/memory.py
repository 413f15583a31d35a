"""Count the peak memory of a training step at the real architecture, beside TRL's.

    python benchmarks/memory.py [--record]

deepseek-coder-1.3b's architecture, bfloat16 weights, LoRA of rank 16 on q, k, v and o in float32, gradient
checkpointing, AdamW, batch size 1. A row has 1,536 tokens, a prompt of 256 and an answer of 1,280; a pair is two such
rows. Counted on fake tensors, with neither weights nor a GPU, as fine_tuning/training/memory.py says. The 4-bit rows
count what bitsandbytes would hold (NF4 with double quantisation, the output layer and the embeddings in bfloat16); it
is not run.
What a GPU really takes for the same rows is measured by `training_speed.py --architecture real --longest`.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from types import MethodType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from accelerate.utils import convert_outputs_to_fp32
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import LlamaConfig

from benchmarks.architecture import LONGEST_ANSWER as ANSWER
from benchmarks.architecture import LONGEST_PROMPT as PROMPT
from benchmarks.architecture import REAL_ARCHITECTURE
from benchmarks.baselines import StockOrpoTrainer
from benchmarks.report import benchmark_parser, report, table
from fine_tuning.common import lora_config
from fine_tuning.run.presets import REAL
from fine_tuning.training.memory import GIB, MemoryCount, count_step
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.pair_batch import collate_pairs

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import trl.trainer.utils  # noqa: E402
from trl.kernels import chunked_logprob  # noqa: E402
from trl.trainer.utils import add_fused_lm_head  # noqa: E402

CONFIG = LlamaConfig(**REAL_ARCHITECTURE)


def main() -> None:
    parser = benchmark_parser(__doc__)
    args = parser.parse_args()
    counts = {name: count(name) for name in LOSSES}
    rows = [
        [name, f"{c.weights / GIB:.2f}", f"{c.peak / GIB:.3f}", f"{c.ratio:.3f}", LOSSES[name][2]]
        for name, c in counts.items()
    ]
    report(
        "Memory of a training step, counted",
        "python benchmarks/memory.py",
        "The real architecture on fake tensors, without weights or a GPU.\n\n"
        + table(["step", "weights GiB", "peak GiB", "peak / weights", "goal, at most"], rows),
        {name: {"weights": c.weights, "peak": c.peak} for name, c in counts.items()},
        args.record,
    )


def count(name: str) -> MemoryCount:
    """Count one of LOSSES at the real architecture."""
    loss_of, dropout, _ = LOSSES[name]
    lora = lora_config(replace(REAL, lora_dropout=dropout))
    # On a GPU, TRL's Triton kernels turn a tile of logits into its gradient in place, and take log-probabilities off
    # logits without a softmax of their size. Without one it has other ways.
    in_place: dict[str, Any] = dict.fromkeys(("_forward_tile", "_backward_tile", "_addmm_fp32"), lambda *_, **__: None)
    fused: dict[str, Any] = dict.fromkeys(("is_triton_available", "_supports_trl_loss_kernel"), lambda *_: True)
    fused["_fused_logprob_entropy"] = lambda logits, index, **_: (_FusedLogProbs.apply(logits, index), None)
    with patch.multiple(chunked_logprob, **in_place), patch.multiple(trl.trainer.utils, create=True, **fused):
        return count_step(CONFIG, lora, loss_of, torch.bfloat16, load_in_4bit="4-bit" in name)


def orpo_loss(model: PeftModel) -> Tensor:
    pair = {"prompt": [1] * PROMPT, "chosen": [1] * ANSWER, "rejected": [1] * ANSWER}
    base: Any = model.get_base_model()
    return pair_loss(base, collate_pairs([pair]), REAL.orpo_lambda).loss


def trl_orpo_loss(model: PeftModel) -> Tensor:
    """TRL's own methods, but for the logging; the model's outputs in float32, as accelerate makes them."""
    _leave_adapters_to_peft(model)
    trainer = object.__new__(StockOrpoTrainer)
    trainer.is_encoder_decoder = trainer.aux_loss_enabled = False
    trainer.padding_value, trainer.beta = 0, REAL.orpo_lambda
    trainer.accelerator = SimpleNamespace(device=torch.device("cpu"))
    row = [1] * (PROMPT + ANSWER)
    labels = [-100] * PROMPT + [1] * ANSWER
    batch: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        batch[f"{side}_input_ids"] = batch[f"{side}_attention_mask"] = torch.tensor([row])
        batch[f"{side}_labels"] = torch.tensor([labels])
    found: Any = trainer.concatenated_forward(convert_outputs_to_fp32(model.__call__), batch)
    chosen, rejected, _, _, nll = found
    return nll - trainer.odds_ratio_loss(chosen, rejected)[0].mean()


def sft_loss(model: PeftModel) -> Tensor:
    """The loss of TRL's SFTTrainer, which step 1 uses, over all positions; a GPU would compute the answer's alone."""
    base: Any = model.get_base_model()
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    labels = torch.tensor([[-100] * PROMPT + [1] * ANSWER])
    output = model(torch.tensor([[1] * (PROMPT + ANSWER)]), labels=labels, use_cache=False, fused_lm_head=True)
    return -output.log_probs.sum() / ANSWER


def trl_sft_loss(model: PeftModel) -> Tensor:
    _leave_adapters_to_peft(model)
    return sft_loss(model)


LOSSES: dict[str, tuple[Callable[..., Tensor], float, str]] = {
    "SFT": (sft_loss, REAL.lora_dropout, "1.2"),
    "SFT, TRL": (trl_sft_loss, REAL.lora_dropout, ""),
    "ORPO": (orpo_loss, 0.0, "1.25"),
    "ORPO, TRL": (trl_orpo_loss, 0.0, ""),
    "SFT, 4-bit (computed)": (sft_loss, REAL.lora_dropout, "2 GiB"),
    "ORPO, 4-bit (computed)": (orpo_loss, 0.0, "2 GiB"),
}


class _FusedLogProbs(torch.autograd.Function):
    """What TRL's kernel holds: four float32 a token, and in the backward pass the gradient of the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> Tensor:
        log_probs, _, log_z, expected = (torch.empty(index.shape, dtype=torch.float32) for _ in range(4))
        ctx.save_for_backward(logits, index, log_z, expected)
        return log_probs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0], memory_format=torch.contiguous_format), None


def _leave_adapters_to_peft(model: nn.Module) -> None:
    """Undo what this project changes in them: PEFT also casts their input to float32 beforehand."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.forward = MethodType(type(module).forward, module)


if __name__ == "__main__":
    main()
