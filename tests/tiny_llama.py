"""A small Llama with an adapter, and pairs of random tokens of given lengths."""

from random import Random

import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from fine_tuning.run.presets import LoraSettings
from fine_tuning.training.adapter import lora_config
from fine_tuning.training.length_buckets import Lengths


def tiny_llama(dropout: float = 0.0, **changes):
    """A small Llama in float64 with an adapter whose weights are all random.

    Weights as small as transformers makes them would amplify rounding: such a model normalises tiny hidden states.
    """
    torch.manual_seed(1)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=300)
    base = LlamaForCausalLM(LlamaConfig(**{"initializer_range": 0.25} | sizes | changes)).double()
    model = get_peft_model(base, lora_config(LoraSettings(rank=2, dropout=dropout))).double()
    with torch.no_grad():
        for weight in adapter_of(model):
            weight.normal_(std=0.2)
    return model


def adapter_of(model):
    return [weight for weight in model.parameters() if weight.requires_grad]


def pair_of(lengths: Lengths):
    rng = Random(sum(lengths))
    parts = zip(("prompt", "chosen", "rejected"), lengths, strict=True)
    return {part: [rng.randrange(300) for _ in range(count)] for part, count in parts}


def ids_of(pair) -> list[int]:
    return pair["prompt"] + pair["chosen"] + pair["rejected"]


def gradients(model, loss):
    return torch.autograd.grad(loss, adapter_of(model))
