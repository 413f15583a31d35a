"""Generate answers with transformers' `generate`. They stop at the token that ends an answer, or at EOS."""

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format, padding_id
from fine_tuning.data.tokens import answer_length, decode_answer
from fine_tuning.run.errors import UserError, is_out_of_memory
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.streams import Streams, random_numbers, sample_numbers
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
    if model.device.type == "cuda":  # what training has left, such as its CUDA graphs
        gc.collect()
        torch.cuda.empty_cache()
    if isinstance(model, PeftModel) and not getattr(model, "is_loaded_in_4bit", False):
        model = model.merge_and_unload()
    model.activation_checkpointing_disable()
    model.set_attn_implementation("sdpa")  # training with ORPO sets an attention that takes only pairs
    model.config.use_cache = True
    # A model's own generation config may penalise repetition, but the lines of a diagram repeat.
    model.generation_config = GenerationConfig()
    return model.eval()


def generate_batch(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    grammar: DiagramGrammar | None = None,
) -> list[Answer]:
    """One answer to each prompt: greedy at temperature 0, else a sample. The rest is as in `answer_tasks`."""
    numbers = sample_numbers(map(tuple, prompts)) if temperature else [None] * len(prompts)
    tasks = [Task(prompt, max_new_tokens, number) for prompt, number in zip(prompts, numbers, strict=True)]
    return answer_tasks(model, tokenizer, tasks, temperature, seed, grammar)


def answer_tasks(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    temperature: float,
    seed: int,
    grammar: DiagramGrammar | None = None,
) -> list[Answer]:
    """The answers to all tasks, in their order.

    Samples are drawn from the full distribution at `temperature`, with the numbers of `fine_tuning.sampling.streams`.
    Answers end where the model's positions end. A batch that does not fit into the free memory is split. With a
    `grammar`, made from `tokenizer`, every answer is a diagram without a problem and ends by itself. Raises UserError
    if a prompt leaves no room.
    """
    ids = generated_ids(model, tokenizer, within_positions(model, tasks), temperature, seed, grammar)
    return [as_answer(tokenizer, row) for row in ids]


def within_positions(model: Model, tasks: Sequence[Task]) -> list[Task]:
    """The tasks, with answers that end where the model's positions end. Raises UserError if a prompt leaves no room."""
    rooms = [room_for_answers(model, len(task.prompt)) for task in tasks]
    return [replace(task, limit=min(task.limit, room)) for task, room in zip(tasks, rooms, strict=True)]


def generated_ids(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    temperature: float,
    seed: int,
    grammar: DiagramGrammar | None,
) -> list[list[int]]:
    """The token ids of each answer, at most its limit. Padding may follow its end."""
    longest = max(len(task.prompt) for task in tasks) + max(task.limit for task in tasks)
    positions = max_positions(model.config)
    # transformers counts padding as positions, and warns if there are too many.
    is_within = positions is None or longest <= positions or len(tasks) == 1
    if is_within and len(tasks) <= rows_that_fit(model, longest):
        try:
            return _generate(model, tokenizer, tasks, temperature, seed, grammar)
        except RuntimeError as error:
            if len(tasks) == 1 or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # outside of the handler: its traceback keeps the failed batch alive
    half = len(tasks) // 2
    return [
        ids
        for part in (tasks[:half], tasks[half:])
        for ids in generated_ids(model, tokenizer, part, temperature, seed, grammar)
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
    tasks: Sequence[Task],
    temperature: float,
    seed: int,
    grammar: DiagramGrammar | None,
) -> list[list[int]]:
    length, limits = max(len(task.prompt) for task in tasks), [task.limit for task in tasks]
    padding = [length - len(task.prompt) for task in tasks]
    ids = [[padding_id(tokenizer)] * pad + list(task.prompt) for pad, task in zip(padding, tasks, strict=True)]
    numbers = [
        None if task.sample is None else random_numbers(seed, task.prompt, task.sample, task.limit) for task in tasks
    ]
    processors = LogitsProcessorList([grammar.processor(length, limits)] if grammar else [])
    processors.append(Streams(numbers, temperature, length, model.device))
    watcher = current_watcher()
    with torch.inference_mode():
        output = model.generate(  # type: ignore[operator]  # PreTrainedModel's type lacks it
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor([[0] * pad + [1] * (length - pad) for pad in padding], device=model.device),
            max_new_tokens=max(limits),
            eos_token_id=list(chat_format(tokenizer).stop),
            pad_token_id=padding_id(tokenizer),
            do_sample=False,
            logits_processor=processors,
            streamer=WatcherStreamer(watcher) if watcher else None,
        )
    rows = zip(output[:, length:].tolist(), limits, strict=True)
    return [row[:limit] for row, limit in rows]


def as_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> Answer:
    """The answer in generated token ids, without the prompt; whatever follows its end is ignored."""
    text, ended = decode_answer(tokenizer, ids)
    return Answer(text, ended, answer_length(tokenizer, ids))
