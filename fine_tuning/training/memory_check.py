"""Before the first step: say what training will need, and on a GPU try the longest example once."""

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn

from fine_tuning.common import load_config, lora_config
from fine_tuning.run.endings import is_out_of_memory, stop
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset
from fine_tuning.training.device import choose_dtype, device_name
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.memory import GIB, MemoryCount, count_step
from fine_tuning.training.orpo_loss import pair_loss, token_log_probs
from fine_tuning.training.pair_batch import collate_pairs

Loss = Callable[[nn.Module], Tensor]


def longest_row_loss(rows: Sequence[Mapping[str, Sequence[int]]]) -> Loss:
    """The loss of step 1 on the row with most tokens.

    On a GPU it is TRL's own, whose kernels have to be compiled there. Elsewhere the logits are held a chunk at a time,
    as those kernels hold them by tiles.
    """
    longest = max(rows, key=lambda row: len(row["input_ids"]))
    prompt = longest["labels"].count(-100)

    def loss_of(model: nn.Module) -> Tensor:
        model = model.get_base_model()
        ids = torch.tensor([longest["input_ids"]], device=model.device)
        if ids.device.type == "cuda":
            return trl_loss(model, ids, torch.tensor([longest["labels"]], device=ids.device))
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, prompt - 1 : -1]
        return -token_log_probs(hidden, ids[0, prompt:], model.get_output_embeddings()).mean()

    return loss_of


def trl_loss(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """The loss that TRL's SFTTrainer computes for token ids and labels [B, T]. Changes the model's forward for good."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    return model(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True).loss


def longest_pair_loss(pairs: Sequence[Mapping[str, Sequence[int]]], preset: Preset) -> Loss:
    """The loss of step 3 on the pair that takes most memory, the one with most tokens."""
    longest = max(pairs, key=lambda pair: sum(map(len, pair.values())))

    def loss_of(model: nn.Module) -> Tensor:
        model = model.get_base_model()
        batch = collate_pairs([longest])
        batch |= {name: value.to(model.device) for name, value in batch.items() if isinstance(value, Tensor)}
        return pair_loss(model, batch, preset.orpo_lambda, preset.orpo_nll_over_prompt).loss

    return loss_of


def announce(options: Options, preset: Preset, loss_of: Loss, example: str) -> dict[str, str]:
    """Print what a step on the longest example, described by `example`, needs; the same as rows for the log."""
    dtype = choose_dtype(options.dtype)
    count = _count(options, preset, loss_of)
    figures = {
        "dtype": f"{'4-bit and ' if options.load_in_4bit else ''}{str(dtype).removeprefix('torch.')}",
        "counted memory of a step": f"{_gib(count.peak)}, {_gib(count.weights)} of it weights",
    }
    print(
        f"{options.model_name}: {figures['dtype']} on {_device()}; a step on the longest {example} needs "
        f"{figures['counted memory of a step']}, beside what the libraries take"
    )
    return figures


def try_on_gpu(
    make_model: Callable[[], PeftModel], options: Options, preset: Preset, loss_of: Loss, example: str
) -> None:
    """On a GPU, make the model, run one step on the longest example, and free all of it again.

    Where the GPU has not enough memory, end the program with what is needed, what there is, and what helps.
    """
    if device_name() != "cuda":
        return
    fits = True
    try:
        try_step(make_model(), loss_of, choose_dtype(options.dtype), preset.gradient_checkpointing)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    gc.collect()  # outside of the handler, whose traceback holds on to the model that was tried
    torch.cuda.empty_cache()
    if not fits:
        stop([_too_large(options, preset, loss_of, example)])


def try_step(model: PeftModel, loss_of: Loss, dtype: torch.dtype, gradient_checkpointing: bool) -> None:
    """Loss, gradients and room for AdamW's moments, once; weights and random numbers stay as they are."""
    half = dtype in (torch.bfloat16, torch.float16)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": True})
    model.train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [torch.zeros_like(weight, dtype=torch.float32) for weight in trained for _ in range(2)]
    autocast = torch.autocast(model.device.type, dtype) if half else contextlib.nullcontext()
    with torch.random.fork_rng(), lean_adapters(model):
        with autocast:
            loss = loss_of(model)
        loss.backward()
    model.zero_grad()
    del moments


def _too_large(options: Options, preset: Preset, loss_of: Loss, example: str) -> str:
    count = _count(options, preset, loss_of)
    free, total = torch.cuda.mem_get_info()
    helps = []
    if not options.load_in_4bit:
        small = _count(options, preset, loss_of, load_in_4bit=True)
        helps.append(f"--load-in-4bit, which needs {_gib(small.peak)}")
    if options.dtype == "float32":
        helps.append("--dtype auto, which takes half of it")
    helps.append("to end other programs that use the GPU")
    return (
        f"a step on the longest {example} does not fit: it needs {_gib(count.peak)} and what the libraries take, and "
        f"{_device()} has {_gib(total)}, of which {_gib(free)} are free now. What helps: {', or '.join(helps)}"
    )


def _count(options: Options, preset: Preset, loss_of: Loss, load_in_4bit: bool | None = None) -> MemoryCount:
    return count_step(
        load_config(options),
        lora_config(preset),
        loss_of,
        choose_dtype(options.dtype),
        options.load_in_4bit if load_in_4bit is None else load_in_4bit,
        preset.gradient_checkpointing,
    )


def _device() -> str:
    return torch.cuda.get_device_name() if device_name() == "cuda" else "the CPU"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"
