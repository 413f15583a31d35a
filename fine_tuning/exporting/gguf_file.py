"""Write a model as a GGUF file, tensor by tensor, with the package gguf."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from fine_tuning.exporting.gguf_model import GgufModel, rotary_factors, tensor_name
from fine_tuning.exporting.gguf_tokenizer import GgufVocabulary
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import naming

F16, Q8_0, F32 = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
FILE_TYPES = {F16: gguf.LlamaFileType.MOSTLY_F16, Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0}
QUANTIZATIONS = {"f16": F16, "q8_0": Q8_0}
BLOCK = 32  # numbers that share a scale in Q8_0


def write_gguf(
    path: Path, name: str, model: PreTrainedModel, settings: GgufModel, vocabulary: GgufVocabulary, quantization: str
) -> None:
    """Write the file. Matrices are `f16` or `q8_0`, vectors float32. Raises UserError if a weight exceeds float16."""
    kind = QUANTIZATIONS[quantization]
    writer: Any = gguf.GGUFWriter(path, settings.architecture)
    _add_settings(writer, name, settings, kind)
    _add_vocabulary(writer, vocabulary)
    tensors = dict(_tensors(model, settings))
    kinds = {tensor: _kind(weights, kind) for tensor, weights in tensors.items()}
    for tensor, weights in tensors.items():
        size = (
            weights.numel() * 34 // BLOCK if kinds[tensor] == Q8_0 else weights.numel() * (2, 4)[kinds[tensor] == F32]
        )
        writer.add_tensor_info(tensor, tuple(weights.shape), None, size, kinds[tensor])
    try:
        with naming(path):
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor, weights in tqdm(tensors.items(), f"GGUF {quantization}", disable=None):
                writer.write_tensor_data(_numbers(tensor, weights, kinds[tensor], settings))
    except OSError as error:
        if error.errno is None:  # numpy's message on a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        writer.close()


def _add_settings(writer: Any, name: str, model: GgufModel, kind: gguf.GGMLQuantizationType) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(model.vocabulary)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.width)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_size)
    writer.add_value_length(model.head_size)
    writer.add_layer_norm_rms_eps(model.epsilon)
    writer.add_rope_dimension_count(model.head_size)
    writer.add_rope_freq_base(model.rope["rope_theta"])
    if model.rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(model.rope["factor"])


def _add_vocabulary(writer: Any, vocabulary: GgufVocabulary) -> None:
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_chat_template(vocabulary.chat_template)
    # The chat template writes BOS itself where the model wants one.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if vocabulary.bos is not None:
        writer.add_bos_token_id(vocabulary.bos)
    writer.add_eos_token_id(vocabulary.stop[-1])
    writer.add_eot_token_id(vocabulary.stop[0])
    if vocabulary.pad is not None:
        writer.add_pad_token_id(vocabulary.pad)
    if vocabulary.unk is not None:
        writer.add_unk_token_id(vocabulary.unk)


def _tensors(model: PreTrainedModel, settings: GgufModel) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights under llama.cpp's names. Tied ones are left out: llama.cpp then uses the embedding."""
    for name, weights in model.state_dict().items():
        if not (name == "lm_head.weight" and model.config.tie_word_embeddings):
            yield tensor_name(name), weights
    if settings.rope["rope_type"] == "llama3":
        yield "rope_freqs.weight", torch.tensor(rotary_factors(settings))


def _kind(weights: torch.Tensor, kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    if weights.ndim < 2:
        return F32
    return F16 if weights.shape[-1] % BLOCK else kind


def _numbers(name: str, weights: torch.Tensor, kind: gguf.GGMLQuantizationType, model: GgufModel) -> Any:
    """A tensor's numbers as they stand in the file, as a numpy array."""
    weights = weights.detach().cpu()
    part = name.split(".")[-2]
    if model.is_permuted and part in ("attn_q", "attn_k"):
        weights = permuted(weights, model.heads if part == "attn_q" else model.kv_heads)
    if kind == F16:
        half = weights.to(torch.float16)
        if not half.isfinite().all():
            raise UserError(f"--quantize f16: {name} has weights above 65504. Use --quantize q8_0")
        return half.contiguous().numpy()
    full = weights.float().contiguous().numpy()
    return gguf.quants.quantize(full, Q8_0) if kind == Q8_0 else full


def permuted(weights: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows (or a bias) of q or k in llama.cpp's order: the two numbers that are rotated together are neighbours."""
    return weights.reshape(heads, 2, -1, *weights.shape[1:]).transpose(1, 2).reshape(weights.shape)
