"""Load the base model and its tokenizer, and put a LoRA adapter on it with gradient checkpointing."""

import warnings
from pathlib import Path

import huggingface_hub
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fine_tuning.run.endings import explain, stop
from fine_tuning.run.files import write_atomically
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset, preset_for
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.training.adapter_card import adapter_card
from fine_tuning.training.device import check_gpu, choose_dtype, device_name

# The libraries call each other by names that they have deprecated, and draw bars for what takes no time. A download
# does take time.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
transformers.utils.logging.disable_progress_bar()
huggingface_hub.utils.enable_progress_bars()


def load_tokenizer(options: Options) -> PreTrainedTokenizerBase:
    """The tokenizer, checked: BOS, EOS and padding are three tokens, and text survives a round trip.

    AutoTokenizer alone reads every tokenizer here rightly; the Llama classes drop deepseek-coder's spaces.
    """
    check_gpu(options)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            options.model_source, revision=options.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        stop([f"--model {options.model}: {str(error).splitlines()[0]}"])
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if len(special) < 3 or None in special:
        stop(
            [
                f"{options.model_name}: the tokenizer needs BOS, EOS and padding, three different tokens, so that the "
                "end of an answer is learned. Where only padding is missing, take a local copy of the model, and name "
                "a token that nothing else uses as pad_token in its tokenizer_config.json"
            ]
        )
    if tokenizer.chat_template is None:
        stop([f"{options.model_name}: the tokenizer has no chat template; an instruct model is needed"])
    text = "hello world\n  two 12"
    if tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) != text:
        stop([f"{options.model_name}: the tokenizer does not give back {text!r} (this transformers misreads it)"])
    return tokenizer


def load_config(options: Options) -> PreTrainedConfig:
    """The base model's configuration, which is enough to count its memory."""
    try:
        return AutoConfig.from_pretrained(options.model_source, revision=options.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        stop([f"--model {options.model}: {str(error).splitlines()[0]}"])


def check_modules(options: Options, preset: Preset) -> None:
    """End the program where the model lacks a module that the adapter goes on; others would be adapted in silence."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(load_config(options), trust_remote_code=False)
    except ValueError as error:
        stop([f"--model {options.model}: {str(error).splitlines()[0]}"])
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if missing := [name for name in preset.lora_modules if name not in names]:
        stop(
            [
                f"--model {options.model}: the model has no modules {', '.join(missing)}, on which the adapter goes. "
                "Models of the Llama family have them"
            ]
        )


def load_base_model(options: Options) -> PreTrainedModel:
    """The base model on its device, in the dtype asked for, with sdpa attention."""
    arguments = {"dtype": choose_dtype(options.dtype), "attn_implementation": "sdpa"}
    if options.load_in_4bit:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=arguments["dtype"],
        )
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            options.model_source,
            revision=options.revision,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with what is missing
            trust_remote_code=False,  # left out, a model with code of its own would have the user asked
            device_map={"": device_name()} if device_name() == "cuda" else None,
            **arguments,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:  # bitsandbytes may be there and still not run
        stop([f"--model {options.model}: {str(error).splitlines()[0]}"])
    except RuntimeError as error:  # transformers sums up so what went wrong inside bitsandbytes
        if not options.load_in_4bit or explain(error):
            raise
        stop(
            [
                f"--load-in-4bit: bitsandbytes is installed but does not run here ({str(error).splitlines()[0]}). "
                "`python -m bitsandbytes` says why"
            ]
        )
    # They would be random, and others at every start.
    if absent := sorted({*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])}):
        stop(
            [
                f"--model {options.model}: {len(absent)} weights that config.json asks for are missing or of another "
                f"size, such as {absent[0]}"
            ]
        )
    return model


def add_adapter(model: PreTrainedModel, options: Options, preset: Preset) -> PeftModel:
    """A new LoRA adapter on the base model, ready to train with gradient checkpointing; its start follows the seed."""
    transformers.set_seed(options.seed)
    return get_peft_model(model, lora_config(preset))


def lora_config(preset: Preset) -> LoraConfig:
    """The adapter that a preset asks for."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=preset.lora_rank,
        lora_alpha=preset.lora_alpha,
        lora_dropout=preset.lora_dropout,
        target_modules=list(preset.lora_modules),
    )


def load_adapter(model: PreTrainedModel, folder: Path, options: Options, trainable: bool) -> PeftModel:
    """The base model with the adapter of an earlier step.

    Of the adapter's folder only the weights are read, as safetensors. PEFT would also take its configuration from
    there, and some configurations have it load further files.
    """
    lora = lora_config(preset_for(options.is_embedded))
    try:
        with safe_open(folder / ADAPTER_FILE, "pt") as file:
            stored = set(file.keys())
        model = PeftModel.from_pretrained(model, str(folder), config=lora, is_trainable=trainable)
        misfit = stored ^ set(get_peft_model_state_dict(model))
    except (FileNotFoundError, RuntimeError, SafetensorError) as error:
        if explain(error):
            raise
        misfit = {str(error).splitlines()[0]}
    if misfit:
        step = 3 if folder == options.workspace.orpo_model else 1
        stop(
            [
                f"{folder / ADAPTER_FILE}: this adapter cannot be put on {options.model_name} ({min(misfit)}). "
                f"Do step {step} again, with --restart"
            ]
        )
    # What was recorded for others may be no place to load from; PEFT looks there at every checkpoint.
    model.peft_config["default"].base_model_name_or_path = options.model_source
    return model


def for_generation(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model with its adapter merged and everything off that only training needs: several times faster.

    A 4-bit model keeps its adapter apart: merged, it would be rounded to 4 bits again and answer otherwise.
    """
    if isinstance(model, PeftModel) and not getattr(model, "is_loaded_in_4bit", False):
        model = model.merge_and_unload()
    model.activation_checkpointing_disable()
    model.set_attn_implementation("sdpa")  # ORPO's computes pairs alone
    model.config.use_cache = True
    # A model's own may penalise repetition, say, and every line of a diagram repeats the one before.
    model.generation_config = GenerationConfig()
    return model.eval()


def save_adapter(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, options: Options) -> None:
    """Write an ordinary PEFT folder that names the base model by hub id and revision, with the tokenizer beside it."""
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision = options.model_name, options.revision
    model.save_pretrained(folder, save_embedding_layers=False)  # they are not trained, and "auto" asks the hub
    tokenizer.save_pretrained(folder)
    dtype = str(choose_dtype(options.dtype)).removeprefix("torch.")  # a checkpoint's own may be a coarser one
    write_atomically(folder / "README.md", adapter_card(options, dtype))
