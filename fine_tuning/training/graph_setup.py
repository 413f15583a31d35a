"""Decide whether a training can run as CUDA graphs, and prepare them."""

import torch
from tqdm import tqdm

from fine_tuning.training.device import device_name
from fine_tuning.training.dropout_masks import has_other_dropout
from fine_tuning.training.graph_capture import CudaCapture
from fine_tuning.training.graphed_steps import GraphedSteps
from fine_tuning.training.length_buckets import buckets_of
from fine_tuning.training.orpo_trainer import OrpoTrainer
from fine_tuning.training.sft_trainer import AdapterSftTrainer


def graphs_for(
    trainer: OrpoTrainer | AdapterSftTrainer, plain: bool = False, load_in_4bit: bool = False
) -> GraphedSteps | None:
    """Graphs for the steps of a trainer, none of them captured yet. None if its steps must be plain ones.

    Prints how many graphs there can be and how much padding they need. Sets `trainer.way`, for the log.
    """
    trainer.way = {"way": f"plain steps: {reason}"} if (reason := why_plain(trainer, plain, load_in_4bit)) else {}
    if reason:
        return None
    buckets, padding = buckets_of(trainer.lengths_of(trainer.train_dataset))
    print(
        f"training with CUDA graphs: at most {len(buckets)}, one for each bucket of lengths; {100 * padding:.1f} % of "
        "the tokens are padding. Each is captured and checked when it is first needed"
    )
    trainer.way = {"buckets of lengths": str(len(buckets)), "padding": f"{100 * padding:.1f} %"}
    scaler = trainer.accelerator.scaler  # of float16
    one = torch.ones((), device=trainer.args.device)
    return GraphedSteps(
        task=trainer,
        model=trainer.model,
        capture=CudaCapture(),
        tokens=max(bucket.tokens for bucket in buckets),
        is_half=trainer.args.bf16 or trainer.args.fp16,
        scale=None if scaler is None else lambda: scaler.scale(one),
        say=tqdm.write,
        buckets=len(buckets),
    )


def why_plain(trainer: OrpoTrainer | AdapterSftTrainer, plain: bool, load_in_4bit: bool) -> str:
    """Why the steps of a trainer must be plain ones; empty if they need not be."""
    if plain:
        return "--plain"
    if device_name() != "cuda":
        return "there is no GPU"
    if load_in_4bit:
        return "the weights are in 4 bits, and CUDA graphs of such steps have not been tested"
    if has_other_dropout(trainer.model):
        return "the model has dropout of its own"
    if isinstance(trainer, AdapterSftTrainer) and not trainer.has_own_loss:
        return "the loss includes one of the model's experts"
    if trainer.args.train_batch_size != 1:
        return "a batch has several examples"
    if not len(trainer.train_dataset):  # type: ignore[arg-type]  # a dataset with a length
        return "there is nothing to train on"
    return ""
