"""Write the merged model as a standard folder for transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fine_tuning.exporting.compatible import config_for_both, tokenizer_config_for_both
from fine_tuning.exporting.ending import stop_ids, stop_texts
from fine_tuning.run.errors import UserError

PROBE = "Draw 12 \"boxes\": it's 'a' -> 'b'.\n\n  [0, 100, 'solid arrow', (255, 0, 0)]\tdéjà 한국어"


def save_merged(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save weights (safetensors, in the dtype they have), configuration, generation settings, tokenizer and template.

    Raises UserError if transformers would read another model or tokenizer from the folder.
    """
    stop, padding = list(stop_ids(tokenizer)), tokenizer.pad_token_id
    if padding is not None and padding >= len(model.get_input_embeddings().weight):  # type: ignore[arg-type]
        padding = None  # transformers refuses a model whose padding lies outside of its embedding
    special: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": stop[0] if len(stop) == 1 else stop,
        "pad_token_id": padding,
    }
    for name, value in special.items():
        setattr(model.config, name, value)
    if padding is None:
        special["pad_token_id"] = stop[0]  # it is masked, so any token can serve
    # The base model's own settings may sample or penalise repetition, but the lines of a diagram repeat.
    model.generation_config = GenerationConfig(do_sample=False, **special)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    template = tokenizer.get_chat_template()
    _rewrite(folder / "config.json", config_for_both)
    _rewrite(folder / "tokenizer_config.json", lambda config: tokenizer_config_for_both(config, template))
    changed = [] if _rope(AutoConfig.from_pretrained(folder)) == _rope(model.config) else ["rotary embeddings"]
    probe = f"{PROBE}{''.join(stop_texts(tokenizer))}"
    if _ids(AutoTokenizer.from_pretrained(folder), probe) != _ids(tokenizer, probe):
        changed.append("tokens")
    if changed:
        raise UserError(
            f"--to merged: transformers would read other {' and '.join(changed)} from the export than the model was "
            "trained with. Choose a model of another family"
        )


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _rope(config: PreTrainedConfig) -> dict[str, Any]:
    """Rotary settings without the old name of the type, which transformers ignores."""
    rope = config.to_dict().get("rope_parameters") or {}
    return {name: value for name, value in rope.items() if name != "type"}


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
