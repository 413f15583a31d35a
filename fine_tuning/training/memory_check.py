"""Before training: count the memory of a step on the longest example and, on a GPU, try that step."""

import contextlib
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor
from transformers import PreTrainedConfig

from fine_tuning.run.errors import UserError, explain, is_out_of_memory, reason_of
from fine_tuning.run.options import Options
from fine_tuning.run.presets import OrpoSettings, Preset
from fine_tuning.training import sft_loss
from fine_tuning.training.adapter import base_of, lora_config
from fine_tuning.training.base_model import load_config
from fine_tuning.training.device import check_gpu, choose_dtype, device_name
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.memory import GIB, MemoryCount, count_step
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.pair_batch import EncodedPair, collate_pairs

Loss = Callable[[PeftModel], Tensor]
UNKNOWN = "an unknown amount (it cannot be counted for this family of models)"


@dataclass(frozen=True, slots=True)
class LongestStep:
    """A training step on the longest example, and the settings of its model. `example` is "row" or "pair"."""

    example: str
    loss_of: Loss
    config: PreTrainedConfig
    lora: LoraConfig
    dtype: torch.dtype
    load_in_4bit: bool
    gradient_checkpointing: bool

    def count(self, load_in_4bit: bool | None = None) -> MemoryCount:
        """Count the step's memory. `load_in_4bit` overrides the step's own setting."""
        return count_step(
            self.config,
            self.lora,
            self.loss_of,
            self.dtype,
            self.load_in_4bit if load_in_4bit is None else load_in_4bit,
            self.gradient_checkpointing,
        )


def row_loss(row: Mapping[str, Sequence[int]]) -> Loss:
    """A function of the model: the loss of step 1 on a row of `input_ids` and `labels`, as a GPU computes it."""
    prompt = row["labels"].count(-100)

    def loss_of(model: PeftModel) -> Tensor:
        base = base_of(model)
        return sft_loss.row_loss(base, torch.tensor([row["input_ids"]], device=base.device), prompt)[0]

    return loss_of


def preference_loss(pair: EncodedPair, orpo: OrpoSettings) -> Loss:
    """A function of the model: the loss of step 3 on a pair."""

    def loss_of(model: PeftModel) -> Tensor:
        base = base_of(model)
        batch = collate_pairs([pair])
        batch |= {name: value.to(base.device) for name, value in batch.items() if isinstance(value, Tensor)}
        return pair_loss(base, batch, orpo.lambda_, orpo.nll_over_prompt).loss

    return loss_of


def check_memory(
    options: Options, preset: Preset, loss_of: Loss, example: str, make_model: Callable[[], PeftModel]
) -> dict[str, str]:
    """Print and return the memory that a training step on the longest example needs. On a GPU, also try such a step.

    `example` is what messages call it, "row" or "pair". Raises UserError if the memory is too small.
    """
    check_gpu(needed=not options.is_embedded)
    step = LongestStep(
        example,
        loss_of,
        load_config(options),
        lora_config(preset.lora),
        choose_dtype(options.dtype),
        options.load_in_4bit,
        preset.gradient_checkpointing,
    )
    needs = memory_needs(step)
    print(
        f"{options.model_name}: {needs['dtype']} on {device_description()}; a step on the longest {example} needs "
        f"{needs['counted memory of a step']}, and the libraries need some more"
    )
    try_on_gpu(step, make_model)
    return needs


def memory_needs(step: LongestStep) -> dict[str, str]:
    """The step's dtype and counted memory, for the log."""
    count = _counted(step)
    return {
        "dtype": f"{'4-bit and ' if step.load_in_4bit else ''}{str(step.dtype).removeprefix('torch.')}",
        "counted memory of a step": f"{_gib(count.peak)}, {_gib(count.weights)} of it weights" if count else UNKNOWN,
    }


def _counted(step: LongestStep, load_in_4bit: bool | None = None) -> MemoryCount | None:
    """The step's memory; None if the family's code needs real numbers, as mixtures of experts do to choose them."""
    fakes = logging.getLogger("torch._subclasses.fake_tensor")  # logs a traceback for each failed operation
    was_disabled, fakes.disabled = fakes.disabled, True
    try:
        return step.count(load_in_4bit)
    except Exception as error:
        if explain(error):
            raise
        return None
    finally:
        fakes.disabled = was_disabled


def try_on_gpu(step: LongestStep, make_model: Callable[[], PeftModel]) -> None:
    """On a GPU, make the model, run the step once, and free the memory. On a CPU, do nothing.

    Raises UserError if the step fails, for its family of models or because it does not fit. Then the message says how
    much it needs, how much the GPU has, and which flags help.
    """
    if device_name() != "cuda":
        return
    fits = True
    try:
        run_once(step, make_model())
    except UserError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            if explain(error):
                raise
            raise UserError(
                f"a training step on the longest {step.example} fails for this family of models ({reason_of(error)}). "
                "Choose a model of another family"
            ) from error
        fits = False
    gc.collect()  # outside of the handler: its traceback keeps the model alive
    torch.cuda.empty_cache()
    if not fits:
        raise UserError(_too_large(step))


def run_once(step: LongestStep, model: PeftModel) -> None:
    """Compute loss and gradients once, with AdamW's moments in memory. Changes neither weights nor random state."""
    half = step.dtype in (torch.bfloat16, torch.float16)
    if step.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": True})
    model.train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [torch.zeros_like(weight, dtype=torch.float32) for weight in trained for _ in range(2)]
    autocast = torch.autocast(model.device.type, step.dtype) if half else contextlib.nullcontext()
    with torch.random.fork_rng(), lean_adapters(model):
        with autocast:
            loss = step.loss_of(model)
        loss.backward()
    model.zero_grad()
    del moments


def device_description() -> str:
    """The GPU's name, or "the CPU"."""
    return torch.cuda.get_device_name() if device_name() == "cuda" else "the CPU"


def _too_large(step: LongestStep) -> str:
    free, total = torch.cuda.mem_get_info()
    remedies = []
    if not step.gradient_checkpointing:
        remedies.append("use --set gradient_checkpointing=true")
    if not step.load_in_4bit:
        smaller = _counted(step, load_in_4bit=True)
        remedies.append(f"use --load-in-4bit{f', which needs {_gib(smaller.peak)}' if smaller else ''}")
    if step.dtype is torch.float32:
        remedies.append("use --dtype auto, which needs half as much")
    remedies.append("leave out the longest rows with a smaller --set max_length")
    remedies.append("close other programs that use the GPU")
    count = _counted(step)
    return (
        f"a step on the longest {step.example} does not fit on the GPU. It needs "
        f"{_gib(count.peak) if count else UNKNOWN}, plus what "
        f"the libraries need; {device_description()} has {_gib(total)}, of which {_gib(free)} are free now. To make it "
        f"fit, {', or '.join(remedies)}"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
