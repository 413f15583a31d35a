"""Before anything is written: can this model be trained, and what does its tokenizer make of a text?"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils.peft_utils import find_adapter_config_file

from fine_tuning.data.chat_format import PROBE_ANSWER, PROBE_REQUEST, render_probe
from fine_tuning.data.tokens import encode_row
from fine_tuning.run.errors import Checks, UserError, about
from fine_tuning.run.model_folder import quantization_problem
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset
from fine_tuning.training.base_model import check_modules, load_config, load_tokenizer, loading, max_positions


@dataclass(frozen=True, slots=True)
class ProbedModel:
    """A model that can be trained.

    max_length  tokens of a row, at most: the preset's, or the number of positions that the model knows
    settings    what a run depends on and only a loaded tokenizer shows, under the names of stored settings
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    settings: dict[str, Any]


def probe(options: Options, preset: Preset) -> ProbedModel:
    """Load tokenizer and configuration, and try both. Raises UserError with everything that is wrong."""
    checks = Checks()
    config = load_config(options)  # without it, the tokenizer cannot be loaded either
    tokenizer: PreTrainedTokenizerBase | None = None
    with checks:
        tokenizer = load_tokenizer(options)
    with checks:
        _check_no_adapter(options)
    rows = getattr(config, "vocab_size", 0)  # of the embedding
    with checks:
        with about(f"--model {options.model}"):
            _check_kind(config)
        rows = check_modules(options, preset.lora.modules, preset.gradient_checkpointing)
    if tokenizer is not None and rows:
        with checks, about(f"--model {options.model}"):
            _check_ids(tokenizer, config, rows)
    checks.finish()
    assert tokenizer is not None  # or else there was a problem
    max_length = bounded_length(preset.max_length, config)
    if max_length < preset.max_length and "max_length" in options.settings_given:
        raise UserError(
            f"--set max_length={preset.max_length}: {options.model_name} knows only {max_length} positions. Give at "
            "most that many, or leave it out"
        )
    settings: dict[str, Any] = tokenizer_settings(tokenizer)
    if max_length < preset.max_length:
        settings["max length of the model"] = max_length
    return ProbedModel(tokenizer, max_length, settings)


def bounded_length(max_length: int, config: PreTrainedConfig) -> int:
    """The tokens of a row, at most, on a model that may know fewer positions than `max_length`."""
    positions = max_positions(config)
    return max_length if positions is None else min(max_length, positions)


def tokenizer_settings(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Hashes of what the chat template renders, and of the tokenizer: another library or date may change either."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else tokenizer.get_vocab()
    used = {name: part for name, part in backend.items() if name not in ("padding", "truncation", "post_processor")}
    return {"chat sha256": _sha256(render_probe(tokenizer)), "tokenizer sha256": _sha256(used)}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _check_no_adapter(options: Options) -> None:
    """`from_pretrained` would add such an adapter without a word. `folder_problems` checks local folders."""
    if options.is_local:
        return
    with loading(options):
        found = find_adapter_config_file(options.model, revision=options.revision)
    if found:
        raise UserError(f"--model {options.model}: this is an adapter, or weights with an adapter. Name a whole model")


def _check_kind(config: PreTrainedConfig) -> None:
    """Raise UserError unless this is the configuration of a text model that predicts the next token."""
    if getattr(config, "auto_map", None):
        raise UserError("the model needs code of its own (auto_map), which is not run. Choose another model")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError("this is an encoder-decoder model. Choose a causal (decoder-only) language model")
    if config.get_text_config() is not config:
        raise UserError("this model takes more than text. Choose a model for text alone")
    stored = getattr(config, "quantization_config", None)
    if problem := quantization_problem(stored if stored is None or isinstance(stored, dict) else vars(stored)):
        raise UserError(problem)
    if getattr(config, "return_dict", True) is False:
        raise UserError("config.json sets return_dict to false. Delete that entry")
    names = getattr(config, "architectures", None) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"config.json has architectures {names!r}, which is not a list of names")
    if names and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        raise UserError(f"this is a {names[0]}. Choose a causal language model (...ForCausalLM)")
    bidirectional = getattr(config, "use_bidirectional_attention", None) in (True, "all")
    if bidirectional or getattr(config, "is_causal", None) is False:
        raise UserError("the attention of this model looks ahead. Choose a causal language model")


def _check_ids(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, rows: int) -> None:
    """Raise UserError if the tokenizer or the configuration has ids for which the embedding has no row."""
    names = {number: "" for number in encode_row(tokenizer, PROBE_REQUEST, PROBE_ANSWER)["input_ids"]}
    names |= {number: name for name, number in tokenizer.get_vocab().items()}
    outside = sorted((number, name) for number, name in names.items() if not 0 <= number < rows)
    if not outside:
        if (padding := getattr(config, "pad_token_id", None) or 0) >= rows:  # the embedding could not be made
            raise UserError(f"config.json has pad_token_id {padding}, but there are {rows} embeddings")
        return
    number, name = outside[0]
    roles = [role for role in ("bos_token", "eos_token", "pad_token") if getattr(tokenizer, role) == name]
    raise UserError(
        f"the model has no embedding for {len(outside)} tokens of its tokenizer, such as {name!r}"
        f"{f', its {roles[0]}' if roles else ''} (id {number}, but there are {rows} embeddings). Use the tokenizer "
        "that belongs to these weights, or take these tokens out of tokenizer.json and tokenizer_config.json"
    )
