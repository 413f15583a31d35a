"""Which tokens end an answer in an exported model."""

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens at which generation must stop, the trained one first."""
    return chat_format(tokenizer).stop


def stop_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The names of `stop_ids`."""
    return list(tokenizer.convert_ids_to_tokens(list(stop_ids(tokenizer))))
