"""Load the base model and its tokenizer."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import huggingface_hub
import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fine_tuning.data.chat_format import PROBE_ANSWER, chat_format, dated_template, padding_id
from fine_tuning.data.tokens import decode_answer, encode_completion
from fine_tuning.run.errors import UserError, about, explain, reason_of
from fine_tuning.run.options import Options
from fine_tuning.run.processes import processes
from fine_tuning.training.device import check_gpu, choose_dtype, device_name

# Hide the libraries' warnings about their own deprecated functions, and their progress bars for loading, which is fast.
# Downloads keep their progress bar.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
transformers.utils.logging.disable_progress_bar()
huggingface_hub.utils.enable_progress_bars()


@contextmanager
def loading(options: Options) -> Iterator[None]:
    """Raise what the libraries raise about a model's files as UserError. They raise every kind of exception."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if explain(error):  # the machine's fault, such as memory or a disk
            raise
        raise UserError(f"--model {options.model}: {reason_of(error)}") from error


def load_tokenizer(options: Options) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises UserError unless its chat template holds request and answer unchanged and ends answers with
    one token, and decoding restores an encoded text.

    Uses AutoTokenizer, because the Llama tokenizer classes drop deepseek-coder's spaces.
    """
    with loading(options):
        tokenizer = AutoTokenizer.from_pretrained(
            options.model_source, revision=options.revision, trust_remote_code=False
        )
    if not tokenizer.chat_template:
        raise UserError(f"{options.model_name}: the tokenizer has no chat template. Choose an instruct model")
    with loading(options), about(options.model_name):
        chat_format(tokenizer)
        tokenizer.chat_template = dated_template(tokenizer)  # saved beside the adapter, for whoever uses it
        if tokenizer.pad_token_id is None:  # TRL needs one, although no batch of one row is padded
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding_id(tokenizer))
        text = "Hello World\n  two 12"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        restored = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        answer, _ = decode_answer(tokenizer, encode_completion(tokenizer, PROBE_ANSWER))
        if (restored, answer) != (text, PROBE_ANSWER):
            raise UserError(
                f"decoding does not restore an encoded text, {text if restored != text else PROBE_ANSWER!r}. This "
                "version of transformers misreads the tokenizer, or the tokenizer changes texts"
            )
    return tokenizer


def load_config(options: Options) -> PreTrainedConfig:
    """The base model's configuration, without its weights. Raises UserError if it cannot be loaded."""
    with loading(options):
        config = AutoConfig.from_pretrained(options.model_source, revision=options.revision, trust_remote_code=False)
    return config


def max_positions(config: PreTrainedConfig) -> int | None:
    """The number of positions that a model knows; None if its configuration does not bound them."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def check_modules(options: Options, modules: tuple[str, ...], checkpointing: bool = False) -> int:
    """The number of rows of the model's embedding.

    Raises UserError if one of the adapter's modules is not a linear layer in the model's blocks, if the model's
    attention cannot be replaced, or if gradient checkpointing is wanted and the family has none. PEFT would silently
    adapt only the other modules. An adapter on the output layer would not be trained: the losses use its weights
    directly.
    """
    config = load_config(options)
    config.pad_token_id = None  # one outside of the embedding would fail here; `probe` explains it
    with loading(options), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    output = model.get_output_embeddings()
    found: dict[str, set[bool]] = {}  # for the last part of each name: are its modules linear layers of the blocks?
    for name, module in model.named_modules():
        found.setdefault(name.rpartition(".")[2], set()).add(isinstance(module, nn.Linear) and module is not output)
    names = [name for name, are_linear in found.items() if are_linear == {True}]
    if missing := [name for name in modules if name not in names]:
        choice = "Models of the Llama family have them"
        if names:
            chosen = [name for name in modules if name in names] or names
            choice = f"These are {', '.join(names)}. Choose among them, as in --set lora.modules={','.join(chosen)}"
        raise UserError(
            f"--model {options.model}: the model has no modules {', '.join(missing)}, which the adapter needs, among "
            f"the linear layers of its blocks. {choice}"
        )
    if not (model._supports_sdpa and model._can_set_attn_implementation()):
        raise UserError(
            f"--model {options.model}: transformers has no SDPA attention for {type(model).__name__}, and the steps "
            "need it. Choose a model of another family"
        )
    if checkpointing and not model.supports_gradient_checkpointing:
        raise UserError(
            f"--model {options.model}: {type(model).__name__} has no gradient checkpointing. Add "
            "--set gradient_checkpointing=false, which needs more memory"
        )
    windows = {getattr(module, "sliding_window", None) for module in model.modules()}
    if any(isinstance(window, int) and window < 1 for window in windows):
        raise UserError(f"--model {options.model}: config.json has a sliding_window of less than 1 token")
    return int(model.get_input_embeddings().weight.shape[0])


def load_base_model(options: Options) -> PreTrainedModel:
    """The base model on its device, in the requested dtype, with SDPA attention. Raises UserError if that fails."""
    check_gpu(needed=not options.is_embedded)
    dtype = choose_dtype(options.dtype)
    quantization = None
    if options.load_in_4bit:
        quantization = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    with loading(options):
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(  # a tuple, because of output_loading_info
                options.model_source,
                revision=options.revision,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, with the missing weights
                trust_remote_code=False,  # otherwise transformers asks the user whether to run the model's code
                device_map={"": device_name()} if device_name() == "cuda" else None,
                dtype=dtype,
                attn_implementation="sdpa",
                **({"quantization_config": quantization} if quantization else {}),
            )
        except RuntimeError as error:  # transformers wraps bitsandbytes' errors in a RuntimeError
            if not options.load_in_4bit or explain(error):
                raise
            raise UserError(
                f"--load-in-4bit: bitsandbytes is installed but does not run here ({str(error).splitlines()[0]}). "
                "To find out why, run: python -m bitsandbytes"
            ) from error
    model, report = loaded
    # transformers would initialise missing weights at random.
    if missing := sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}):
        raise UserError(
            f"--model {options.model}: {len(missing)} weights that config.json asks for are missing or have another "
            f"size, such as {missing[0]}"
        )
    if unused := sorted(report["unexpected_keys"]):  # such as layers that config.json does not count
        _note_once(
            f"--model {options.model}: {len(unused)} of the stored weights have no place in the model that config.json "
            f"describes, and are not used, such as {unused[0]}"
        )
    _check_runs(model, options)
    return model


@lru_cache
def _note_once(text: str) -> None:
    if processes().is_main:  # all of them have met it
        print(f"note: {text}", file=sys.stderr)


def _check_runs(model: PreTrainedModel, options: Options) -> None:
    """Raise UserError if the model cannot read a few tokens, or if weights or logits are not finite."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.stack(weight.detach().aminmax()).isfinite().all():
            raise UserError(
                f"--model {options.model}: the weights are damaged: {name} holds numbers that are not finite. Download "
                "them again"
            )
    embedding: Any = model.get_input_embeddings()
    ids = torch.arange(min(4, embedding.weight.shape[0]), device=model.device)[None]
    with loading(options), torch.no_grad():
        is_finite = bool(model(input_ids=ids, use_cache=False).logits.isfinite().all())
    if not is_finite:
        dtype = str(model.dtype).removeprefix("torch.")
        raise UserError(
            f"--model {options.model}: the model computes numbers that are not finite in {dtype}. "
            + ("Use another --dtype" if dtype == "float16" else "Choose another model")
        )
