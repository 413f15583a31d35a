"""Load the base model and its tokenizer."""

import warnings
from typing import Any

import huggingface_hub
import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fine_tuning.run.errors import UserError, explain
from fine_tuning.run.options import Options
from fine_tuning.training.device import check_gpu, choose_dtype, device_name

# Hide the libraries' warnings about their own deprecated functions, and their progress bars for loading, which is fast.
# Downloads keep their progress bar.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
transformers.utils.logging.disable_progress_bar()
huggingface_hub.utils.enable_progress_bars()


def load_tokenizer(options: Options) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises UserError unless it has a chat template and different tokens for BOS, EOS and padding, and
    decoding restores an encoded text.

    Uses AutoTokenizer, because the Llama tokenizer classes drop deepseek-coder's spaces.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            options.model_source, revision=options.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise _not_loaded(options, error) from error
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if len(special) < 3 or None in special:
        raise UserError(
            f"{options.model_name}: the tokenizer needs three different tokens for BOS, EOS and padding. Otherwise the "
            "model does not learn to end its answers. If only padding is missing, make a local copy of the model and "
            "set pad_token in its tokenizer_config.json to a token that nothing else uses"
        )
    if tokenizer.chat_template is None:
        raise UserError(f"{options.model_name}: the tokenizer has no chat template. Choose an instruct model")
    text = "hello world\n  two 12"
    if tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) != text:
        raise UserError(
            f"{options.model_name}: decoding does not restore an encoded text, {text!r}. This version of transformers "
            "misreads the tokenizer"
        )
    return tokenizer


def load_config(options: Options) -> PreTrainedConfig:
    """The base model's configuration, without its weights. Raises UserError if it cannot be loaded."""
    try:
        return AutoConfig.from_pretrained(options.model_source, revision=options.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _not_loaded(options, error) from error


def check_modules(options: Options, modules: tuple[str, ...]) -> None:
    """Raise UserError if one of the adapter's modules is not a linear layer in the model's blocks.

    PEFT would silently adapt only the others. An adapter on the output layer would not be trained: the losses use its
    weights directly.
    """
    config = load_config(options)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise _not_loaded(options, error) from error
    output = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]: None
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    if missing := [name for name in modules if name not in names]:
        choice = "Models of the Llama family have them"
        if names:
            choice = f"These are {', '.join(names)}. Choose with --set lora.modules={next(iter(names))},..."
        raise UserError(
            f"--model {options.model}: the model has no modules {', '.join(missing)}, which the adapter needs, among "
            f"the linear layers of its blocks. {choice}"
        )


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
    except (OSError, ValueError, ImportError, SafetensorError) as error:  # ImportError if bitsandbytes does not run
        raise _not_loaded(options, error) from error
    except RuntimeError as error:  # transformers wraps bitsandbytes' errors in a RuntimeError
        if not options.load_in_4bit or explain(error):
            raise
        raise UserError(
            f"--load-in-4bit: bitsandbytes is installed but does not run here ({str(error).splitlines()[0]}). "
            "To find out why, run: python -m bitsandbytes"
        ) from error
    model, loading = loaded
    # transformers would initialise missing weights at random.
    if missing := sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])}):
        raise UserError(
            f"--model {options.model}: {len(missing)} weights that config.json asks for are missing or have another "
            f"size, such as {missing[0]}"
        )
    return model


def _not_loaded(options: Options, error: Exception) -> UserError:
    return UserError(f"--model {options.model}: {str(error).splitlines()[0]}")
