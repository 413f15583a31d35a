"""Count the peak memory of a training step with the real architecture, and compare it with TRL's.

    python benchmarks/memory.py [--record]

The setting: the architecture of deepseek-coder-1.3b, bfloat16 weights, LoRA of rank 16 on q, k, v and o in float32,
gradient checkpointing, AdamW, batch size 1. A row has 1,536 tokens: 256 of the prompt and 1,280 of the answer. A pair
is two such rows.

Memory is counted on fake tensors, without weights and without a GPU (see fine_tuning/training/memory.py). The 4-bit
rows count what bitsandbytes would store: NF4 with double quantisation, and the embeddings and the output layer in
bfloat16. bitsandbytes itself does not run. To measure the same rows on a GPU, run
`training_speed.py --architecture real --longest`.
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
from benchmarks.report import benchmark_parser, report
from fine_tuning.run.markdown import table
from fine_tuning.run.presets import REAL
from fine_tuning.training.adapter import lora_config
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
    """Count the memory of a training step with the loss of that name in LOSSES."""
    loss_of, dropout, _ = LOSSES[name]
    lora = lora_config(replace(REAL.lora, dropout=dropout))
    # Count what TRL does on a GPU. There its Triton kernels replace a tile of logits by its gradient in place, and
    # compute log-probabilities without a softmax of the size of the logits.
    in_place: dict[str, Any] = dict.fromkeys(("_forward_tile", "_backward_tile", "_addmm_fp32"), lambda *_, **__: None)
    fused: dict[str, Any] = dict.fromkeys(("is_triton_available", "_supports_trl_loss_kernel"), lambda *_: True)
    fused["_fused_logprob_entropy"] = lambda logits, index, **_: (_FusedLogProbs.apply(logits, index), None)
    with patch.multiple(chunked_logprob, **in_place), patch.multiple(trl.trainer.utils, create=True, **fused):
        return count_step(CONFIG, lora, loss_of, torch.bfloat16, load_in_4bit="4-bit" in name)


def orpo_loss(model: PeftModel) -> Tensor:
    pair = {"prompt": [1] * PROMPT, "chosen": [1] * ANSWER, "rejected": [1] * ANSWER}
    base: Any = model.get_base_model()
    return pair_loss(base, collate_pairs([pair]), REAL.orpo.lambda_).loss


def trl_orpo_loss(model: PeftModel) -> Tensor:
    """Compute the loss with TRL's methods, without the logging. Like accelerate, convert the outputs to float32."""
    _leave_adapters_to_peft(model)
    trainer = object.__new__(StockOrpoTrainer)
    trainer.is_encoder_decoder = trainer.aux_loss_enabled = False
    trainer.padding_value, trainer.beta = 0, REAL.orpo.lambda_
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
    """Compute the loss of TRL's SFTTrainer, which step 1 uses, at all positions. On a GPU, it skips the prompt."""
    base: Any = model.get_base_model()
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))
    labels = torch.tensor([[-100] * PROMPT + [1] * ANSWER])
    output = model(torch.tensor([[1] * (PROMPT + ANSWER)]), labels=labels, use_cache=False, fused_lm_head=True)
    return -output.log_probs.sum() / ANSWER


def trl_sft_loss(model: PeftModel) -> Tensor:
    _leave_adapters_to_peft(model)
    return sft_loss(model)


LOSSES: dict[str, tuple[Callable[..., Tensor], float, str]] = {
    "SFT": (sft_loss, REAL.lora.dropout, "1.2"),
    "SFT, TRL": (trl_sft_loss, REAL.lora.dropout, ""),
    "ORPO": (orpo_loss, 0.0, "1.25"),
    "ORPO, TRL": (trl_orpo_loss, 0.0, ""),
    "SFT, 4-bit (computed)": (sft_loss, REAL.lora.dropout, "2 GiB"),
    "ORPO, 4-bit (computed)": (orpo_loss, 0.0, "2 GiB"),
}


class _FusedLogProbs(torch.autograd.Function):
    """Allocates what TRL's kernel does: four float32 per token, and in the backward pass the gradient of the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> Tensor:
        log_probs, _, log_z, expected = (torch.empty(index.shape, dtype=torch.float32) for _ in range(4))
        ctx.save_for_backward(logits, index, log_z, expected)
        return log_probs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0], memory_format=torch.contiguous_format), None


def _leave_adapters_to_peft(model: nn.Module) -> None:
    """Restore PEFT's own forward in the LoRA layers. Unlike this project's, it casts the input to float32."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.forward = MethodType(type(module).forward, module)


if __name__ == "__main__":
    main()
