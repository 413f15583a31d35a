"""Put a new or a saved LoRA adapter on the base model, and save it."""

from pathlib import Path
from typing import Any, cast

import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format
from fine_tuning.data.prompt_frame import FRAME_FILE, PromptFrame
from fine_tuning.run.errors import UserError, explain
from fine_tuning.run.files import write_atomically
from fine_tuning.run.options import Options
from fine_tuning.run.presets import LoraSettings
from fine_tuning.run.processes import processes
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.training.adapter_card import CARD_FILE, adapter_card
from fine_tuning.training.device import choose_dtype


def lora_config(lora: LoraSettings) -> LoraConfig:
    """PEFT's configuration for an adapter with these settings."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
    )


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> PeftModel:
    """The base model with a new adapter, whose initial weights depend on `seed`."""
    transformers.set_seed(seed)
    return get_peft_model(model, lora_config(lora))


def load_adapter(
    model: PreTrainedModel, folder: Path, lora: LoraSettings, options: Options, trainable: bool
) -> PeftModel:
    """The base model with the adapter that an earlier step saved. Raises UserError if the adapter does not fit.

    Reads only the weights from the folder, as safetensors. By default PEFT also reads the configuration there, and some
    configurations make it load more files.
    """
    try:
        with safe_open(folder / ADAPTER_FILE, "pt") as file:
            stored = set(file.keys())
        peft_model = PeftModel.from_pretrained(model, str(folder), config=lora_config(lora), is_trainable=trainable)
        misfit = stored ^ set(get_peft_model_state_dict(peft_model))
    except (FileNotFoundError, RuntimeError, SafetensorError) as error:
        if explain(error):
            raise
        misfit = {str(error).splitlines()[0]}
    if misfit:
        is_orpo = folder == options.workspace.orpo_model
        step, script = (3, "orpo_fine_tuning") if is_orpo else (1, "sft_fine_tuning")
        raise UserError(
            f"{folder / ADAPTER_FILE}: this adapter does not fit {options.model_name} ({min(misfit)}). Repeat step "
            f"{step}: {options.command(script)} --restart"
        )
    # PEFT looks up the base model by this name at every checkpoint. The recorded name may not be loadable.
    peft_model.peft_config["default"].base_model_name_or_path = options.model_source
    return peft_model


def base_of(model: nn.Module) -> PreTrainedModel:
    """The base model inside a PeftModel, with the adapter in its layers."""
    peft_model = cast(Any, model)  # PEFT and Trainer declare both models as plain modules
    return peft_model.get_base_model()


def save_adapter(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, options: Options, frame: PromptFrame
) -> None:
    """Save a standard PEFT folder with the tokenizer and the frame of the prompts that the adapter was trained on.

    It names the base model by hub id and revision, not by path. Of several processes, the main one saves.
    """
    if not processes().is_main:
        return
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision = options.model_name, options.revision
    model.save_pretrained(str(folder), save_embedding_layers=False)  # not trained; "auto" would ask the hub
    tokenizer.save_pretrained(folder)
    write_atomically(folder / FRAME_FILE, frame.to_json())
    dtype = str(choose_dtype(options.dtype)).removeprefix("torch.")  # the base model's files may have lower precision
    stop = chat_format(tokenizer).stop
    card = adapter_card(options, dtype, () if stop == (tokenizer.eos_token_id,) else stop)
    write_atomically(folder / CARD_FILE, card)
