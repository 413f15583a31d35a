"""Generate answers in batches of similar length. Answers stop at the token that ends an answer, or at EOS."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format, padding_id
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import answer_length, decode_answer, encode_completion, encode_prompt
from fine_tuning.run.errors import UserError, is_out_of_memory
from fine_tuning.sampling.batches import token_limit
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.streams import Streams
from fine_tuning.sampling.watching import WatcherStreamer, current_watcher
from fine_tuning.training.base_model import max_positions

CPU_CACHE = 4 * 2**30  # bytes of the KV cache; fixed, because samples must not depend on the machine's memory
SHARE_FOR_CACHE = 0.8  # of a GPU's free memory; the rest is for activations and fragmentation

Model = PreTrainedModel | PeftModel  # after merging, a PeftModel only with 4-bit weights


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated text, whether it ended by itself, and its length in tokens, the one that ended it included."""

    text: str
    ended: bool
    tokens: int


def merge_for_generation(model: Model) -> Model:
    """Merge the adapter into the base model and undo the settings for training. Generation is several times faster.

    Changes `model` in place; it cannot be trained afterwards. A 4-bit model keeps its adapter separate: merging would
    round the adapter to 4 bits and change the answers.
    """
    if isinstance(model, PeftModel) and not getattr(model, "is_loaded_in_4bit", False):
        model = model.merge_and_unload()
    model.activation_checkpointing_disable()
    model.set_attn_implementation("sdpa")  # training with ORPO sets an attention that takes only pairs
    model.config.use_cache = True
    # A model's own generation config may penalise repetition, but the lines of a diagram repeat.
    model.generation_config = GenerationConfig()
    return model.eval()


def answer_rows(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    batches: Sequence[Sequence[int]],
    temperature: float,
    seed: int,
    first_batch: int = 0,
) -> Iterator[tuple[Sequence[int], list[Answer]]]:
    """Answer the prompts of `rows`, batch by batch. Yields each batch's indices and answers.

    `batches` are lists of indices into `rows`, from `plan_batches`. Batches before `first_batch` are skipped. Each
    batch has its own random seed, so skipping one does not change the others.
    """
    for number, batch in enumerate(batches):
        if number < first_batch:
            continue
        prompts = [encode_prompt(tokenizer, rows[k].prompt) for k in batch]
        limit = token_limit(max(len(encode_completion(tokenizer, rows[k].answer)) for k in batch))
        yield batch, generate_batch(model, tokenizer, prompts, limit, temperature, seed=seed * 100_003 + number)


def generate_batch(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    streams: Sequence[int | None] | None = None,
    grammar: DiagramGrammar | None = None,
) -> list[Answer]:
    """One answer to each prompt. Prompts are lists of token ids.

    `temperature` 0 is greedy decoding; any other value samples from the full distribution. On a CPU, the same arguments
    give the same answers on the same machine. On a GPU, a batch that does not fit into the free memory is split, and
    its samples then differ, but not with `streams`. Answers end where the model's positions end. Raises UserError if a
    prompt leaves no room.

    `streams` are as in `fine_tuning.sampling.streams`, one for each prompt: where it is None, decoding is greedy.
    With a `grammar`, made from `tokenizer`, every answer is a diagram without a problem and ends by itself.
    """
    longest = max(map(len, prompts))
    max_new_tokens = min(max_new_tokens, room_for_answers(model, longest))
    if len(prompts) <= rows_that_fit(model, longest + max_new_tokens):
        try:
            return _generate(model, tokenizer, prompts, max_new_tokens, temperature, seed, streams, grammar)
        except RuntimeError as error:
            if len(prompts) == 1 or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # outside of the handler: its traceback keeps the failed batch alive
    half = len(prompts) // 2
    if streams is not None:
        halves = (prompts[:half], streams[:half]), (prompts[half:], streams[half:])
        parts = [
            generate_batch(model, tokenizer, ids, max_new_tokens, temperature, seed, own, grammar)
            for ids, own in halves
        ]
        return [answer for part in parts for answer in part]
    other_seed = seed + 1_000_003 * len(prompts)  # with one seed, both halves would draw the same samples
    return [
        *generate_batch(model, tokenizer, prompts[:half], max_new_tokens, temperature, seed, grammar=grammar),
        *generate_batch(model, tokenizer, prompts[half:], max_new_tokens, temperature, other_seed, grammar=grammar),
    ]


def rows_that_fit(model: Model, length: int) -> int:
    """The largest batch, at least 1, whose KV cache at `length` tokens fits.

    It must fit into SHARE_FOR_CACHE of a GPU's free memory or, on a CPU, into CPU_CACHE.
    """
    room = CPU_CACHE
    if model.device.type == "cuda":
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        room = int(SHARE_FOR_CACHE * free)
    return max(1, room // (length * cache_bytes_per_token(model)))


def room_for_answers(model: Model, prompt_length: int) -> int:
    """The most tokens that can follow a prompt: the model knows no positions beyond max_position_embeddings.

    Raises UserError if there are none.
    """
    positions = max_positions(model.config)
    if positions is not None and prompt_length >= positions:
        raise UserError(
            f"the prompt has {prompt_length} tokens, and this model takes {positions} tokens, prompt and answer "
            "together. Shorten the request"
        )
    return sys.maxsize if positions is None else positions - prompt_length


def cache_bytes_per_token(model: Model) -> int:
    """The bytes that one token takes in the KV cache, over all layers."""
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head * model.dtype.itemsize


def _generate(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    streams: Sequence[int | None] | None,
    grammar: DiagramGrammar | None,
) -> list[Answer]:
    length = max(map(len, prompts))
    ids = torch.tensor([[padding_id(tokenizer)] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    sampling: dict[str, Any] = {"do_sample": False}
    processors = LogitsProcessorList([grammar.processor(len(prompts), length, max_new_tokens)] if grammar else [])
    if streams is not None:
        processors.append(Streams(streams, temperature, seed, model.device))
    elif temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    if processors:
        sampling["logits_processor"] = processors
    watcher = current_watcher()
    torch.manual_seed(seed)
    with torch.inference_mode():
        output = model.generate(  # type: ignore[operator]  # PreTrainedModel's type lacks it
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            eos_token_id=list(chat_format(tokenizer).stop),
            pad_token_id=padding_id(tokenizer),
            streamer=WatcherStreamer(watcher) if watcher else None,
            **sampling,
        )
    answers = []
    for row in output[:, length:].tolist():
        text, ended = decode_answer(tokenizer, row)
        answers.append(Answer(text, ended, answer_length(tokenizer, row)))
    return answers
