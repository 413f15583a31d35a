"""Count the memory of a training step without weights and without a GPU.

The step runs on fake tensors, which have a shape but no content. Every storage is counted from its creation until it is
freed. Not counted is other memory on a GPU: the CUDA context (some hundred MiB), the workspaces of kernels, and what
the allocator reserves. Attention is assumed to be a fused kernel, which stores no matrix of attention scores.
"""

import contextlib
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoModelForCausalLM, PreTrainedConfig

from fine_tuning.training.lora_layers import lean_adapters

GIB = 2**30


@dataclass(frozen=True, slots=True)
class MemoryCount:
    """Bytes of the weights, adapter included, and peak bytes during a training step, weights included."""

    weights: int
    peak: int

    @property
    def ratio(self) -> float:
        return self.peak / self.weights


def count_step(
    config: PreTrainedConfig,
    lora: LoraConfig,
    loss_of: Callable[[PeftModel], Tensor],
    dtype: torch.dtype,
    load_in_4bit: bool = False,
    gradient_checkpointing: bool = True,
    backward: bool = True,
) -> MemoryCount:
    """Count the memory of one optimiser step of a causal LM with a float32 LoRA adapter. Without `backward`, count
    only the computation of the loss.

    `loss_of` takes the PEFT model and returns the loss; the tensors that it creates are counted too. AdamW's two
    moments of every adapter weight are counted from the beginning, as in every step but the first.
    """
    model = _model_without_weights(config, lora, dtype, load_in_4bit)
    half = dtype in (torch.bfloat16, torch.float16)
    with FakeTensorMode():
        _make_fake(model)
        if gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": True})
        model.train()
        counter = _Counter()
        counter.add([*model.parameters(), *model.buffers()])
        weights = counter.now
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        with counter, lean_adapters(model):
            moments = [torch.zeros_like(weight) for weight in trained for _ in range(2)] if backward else []
            autocast = torch.autocast("cpu", dtype) if half else contextlib.nullcontext()
            with torch.set_grad_enabled(backward), autocast:
                loss = loss_of(model)
            if backward:
                loss.backward()
        del moments
    return MemoryCount(weights, counter.peak)


class _Counter(TorchDispatchMode):
    """Counts the bytes of all storages that operations create, until these are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen = WeakIdKeyDictionary()

    def add(self, tensors: list[Any]) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._seen:
                storage = tensor.untyped_storage()
                self._seen[storage] = True
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(tree_leaves(result))
        return result


def _model_without_weights(
    config: PreTrainedConfig, lora: LoraConfig, dtype: torch.dtype, load_in_4bit: bool
) -> PeftModel:
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        output_layer = base.get_output_embeddings()
        model = get_peft_model(base, lora, low_cpu_mem_usage=True)
        if load_in_4bit:
            for path, module in list(model.named_modules()):
                if type(module) is nn.Linear and module is not output_layer and "lora_" not in path:
                    model.set_submodule(path, _Nf4Linear(module))
    return model


class _Nf4Linear(nn.Module):
    """A linear layer as bitsandbytes stores it: 4 bits per weight, a byte for the scale of every 64 weights, and a
    float32 for every 256 scales. The forward and the backward pass each dequantise the whole weight for a moment.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.shape, self.dtype = linear.weight.shape, linear.weight.dtype
        count = linear.weight.numel()
        self.register_buffer("packed", torch.empty(count // 2, dtype=torch.uint8))
        self.register_buffer("scales", torch.empty(math.ceil(count / 64), dtype=torch.uint8))
        self.register_buffer("scales_of_scales", torch.empty(math.ceil(count / 64 / 256)))

    def forward(self, x: Tensor) -> Tensor:
        return _Nf4Product.apply(x, self.shape, self.dtype)


class _Nf4Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        ctx.weight = shape, dtype
        return nn.functional.linear(x, torch.empty(shape, dtype=dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        shape, dtype = ctx.weight
        return gradient @ torch.empty(shape, dtype=dtype), None, None


def _make_fake(model: nn.Module) -> None:
    """Replace every weight and buffer by a fake tensor. Tied weights share one."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                if id(weight) not in made:
                    fake = torch.empty(weight.shape, dtype=weight.dtype)
                    made[id(weight)] = nn.Parameter(fake, requires_grad=weight.requires_grad)
                module._parameters[name] = made[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
