"""Chat templates of other families: what is a prompt, what is trained, and where an answer ends."""

import datetime
import hashlib
import json

import pytest
import transformers.utils.chat_template_utils as chat_template_utils
from families import CHATML, FAMILIES, LLAMA3, tiny_tokenizer
from helpers import ROOT, problems_of
from transformers import AutoTokenizer

from fine_tuning.data.chat_format import chat_format, dated_template, padding_id
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import (
    answer_length,
    decode_answer,
    encode_completion,
    encode_prompt,
    encode_row,
    encode_rows,
    encode_unended_answer,
)
from fine_tuning.run.errors import UserError

EMBEDDED = ROOT / "fine_tuning" / "embedded_model"
REQUEST = "Draw 'a' -> \"b\".\n\n  One line each."
ANSWER = "[0, 'a', 100, 300, 'solid arrow', (1, 2, 3), [1]]\n[1, 'b', 200, 300, 'solid arrow', (1, 2, 3), []]"
ENDS = {
    "llama": "<|eot_id|>",
    "llama3_base_eos": "<|eot_id|>",
    "tinyllama": "</s>",
    "smollm2": "<|im_end|>",
    "qwen2": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "mistral": "</s>",
    "gemma": "<end_of_turn>",
    "gemma2": "<end_of_turn>",
    "gemma3_text": "<end_of_turn>",
    "granite": "<|end_of_text|>",
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "phi3": "<|end|>",
    "qwen3_moe": "<|im_end|>",
    "mixtral": "</s>",
    "olmo2": "<|endoftext|>",
    "stablelm": "<|im_end|>",
}


@pytest.fixture(params=sorted(FAMILIES))
def family(request):
    return request.param


def qwen(template: str):
    tokenizer = tiny_tokenizer(FAMILIES["qwen2"])
    tokenizer.chat_template = template
    return tokenizer


def test_a_row_is_the_templates_conversation_up_to_the_token_that_ends_the_answer(family):
    tokenizer = tiny_tokenizer(FAMILIES[family])
    messages = [{"role": "user", "content": REQUEST}, {"role": "assistant", "content": ANSWER}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=dated_template(tokenizer))
    whole = tokenizer(text, add_special_tokens=False).input_ids
    row = encode_row(tokenizer, REQUEST, ANSWER)
    ids, prompt = row["input_ids"], encode_prompt(tokenizer, REQUEST)
    assert whole[: len(ids)] == ids
    assert row["labels"] == [-100] * len(prompt) + ids[len(prompt) :]
    assert tokenizer.convert_ids_to_tokens(ids[-1]) == ENDS[family]


def test_generation_stops_where_an_answer_ends_and_the_answer_is_read_back(family):
    tokenizer = tiny_tokenizer(FAMILIES[family])
    ids = encode_completion(tokenizer, ANSWER)
    assert ids[-1] in chat_format(tokenizer).stop and tokenizer.eos_token_id in chat_format(tokenizer).stop
    assert decode_answer(tokenizer, ids + [padding_id(tokenizer)] * 3) == (ANSWER, True)
    assert answer_length(tokenizer, ids + [padding_id(tokenizer)] * 3) == len(ids)
    assert decode_answer(tokenizer, ids[:-1]) == (ANSWER, False)
    assert answer_length(tokenizer, ids[:-1]) == len(ids) - 1
    assert decode_answer(tokenizer, [*ids[:-1], tokenizer.eos_token_id]) == (ANSWER, True)


def test_the_token_that_ends_an_answer_is_refused_in_a_users_text(family):
    tokenizer = tiny_tokenizer(FAMILIES[family])
    for encode in (encode_prompt, encode_completion):
        with pytest.raises(UserError, match="a special token of this model"):
            encode(tokenizer, f"a {ENDS[family]} b")


def test_an_empty_block_of_thoughts_is_trained_but_is_no_part_of_the_answer():
    tokenizer = tiny_tokenizer(FAMILIES["qwen3"])
    assert tokenizer.decode(encode_completion(tokenizer, "[0]")) == "<think>\n\n</think>\n\n[0]<|im_end|>"
    assert decode_answer(tokenizer, encode_completion(tokenizer, "[0]")) == ("[0]", True)


def test_what_the_template_writes_before_the_end_token_belongs_to_the_completion():
    tokenizer = qwen(CHATML.replace("+ '<|im_end|>'", "+ '\\n<|im_end|>'"))
    assert tokenizer.decode(encode_completion(tokenizer, "[0]")) == "[0]\n<|im_end|>"


def test_without_a_special_token_after_the_answer_eos_ends_it():
    tokenizer = qwen("{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}")
    assert tokenizer.decode(encode_completion(tokenizer, "[0]")) == "assistant: [0]<|im_end|>"
    assert decode_answer(tokenizer, encode_completion(tokenizer, "[0]")) == ("[0]", True)


def test_an_end_token_that_is_not_marked_as_special_ends_answers_too():
    tokenizer = tiny_tokenizer(FAMILIES["llama3_base_eos"])
    tokenizer.add_tokens(["<turn_end>"])
    tokenizer.chat_template = LLAMA3.replace("<|eot_id|>", "<turn_end>")
    assert encode_completion(tokenizer, "[0]")[-1] == tokenizer.convert_tokens_to_ids("<turn_end>")
    with pytest.raises(UserError, match="a special token of this model"):
        encode_completion(tokenizer, "[0] <turn_end>")


@pytest.mark.parametrize("day", [datetime.datetime(2026, 1, 2), datetime.datetime(2031, 12, 30)])
def test_a_template_that_writes_todays_date_gets_the_same_one_every_day(monkeypatch, day):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return day

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    tokenizer = tiny_tokenizer(FAMILIES["llama"])
    assert "Today Date: 26 Jul 2024\n" in tokenizer.decode(encode_prompt(tokenizer, REQUEST))


def test_every_usual_form_of_a_date_is_fixed():
    tokenizer = qwen("{{ strftime_now('%Y-%m-%d %A, %B %-d, %y') }}" + CHATML)
    assert "2024-07-26 Friday, July 26, 24" in tokenizer.decode(encode_prompt(tokenizer, REQUEST))


def test_a_template_that_trims_texts_is_accepted():
    tokenizer = tiny_tokenizer(FAMILIES["gemma"])
    assert encode_prompt(tokenizer, "  draw\n") == encode_prompt(tokenizer, "draw")


BAD = {
    "content as parts": (
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
        "changes or leaves out the text of the request and the answer",
    ),
    "escapes": ("{% for m in messages %}{{ m.content | tojson }}{% endfor %}", "changes or leaves out the text"),
    "one line": (
        "{% for m in messages %}{{ m.content if m.role == 'user' else m.content.replace('\\n', ' ') }}{% endfor %}",
        "changes or leaves out the text of the answer",
    ),
    "raises": ("{{ raise_exception('no users, please') }}", "fails: TemplateError: no users, please"),
    "syntax": ("{% for m in messages %}{{ m.content }}", "fails: TemplateSyntaxError"),
    "unknown name": ("{{ tools.first.name }}{{ messages[0].content }}", "fails: UndefinedError"),
    "wrong type": ("{{ 'a' + 1 }}", "fails: TypeError"),
    "another prompt for generation": (
        CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>' }}{% endif %}"),
        "another prompt before an answer than for generation",
    ),
    "the answer twice": (
        CHATML.replace("message['content']", "message['content'] + '\\n' + message['content']"),
        "depends on the text of the request or the answer",
    ),
    "the answer's length": (
        CHATML.replace("message['content']", "message['content'] + message['content'] | length | string"),
        "depends on the text of the request or the answer",
    ),
    "cuts long answers": (
        CHATML.replace("message['content']", "message['content'][:400]"),
        "cuts or repeats a long text",
    ),
    "random": (CHATML + "{{ [1, 2, 3, 4] | random }}", "something else each time"),
    "random in front": ("{{ [1, 2, 3, 4] | random }}" + CHATML, "something else each time"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_template_that_cannot_be_trained_with_is_refused_in_one_line(name):
    template, said = BAD[name]
    (problem,) = problems_of(chat_format, qwen(template))
    assert said in problem and "\n" not in problem


def test_a_template_without_a_generation_prompt_trains_the_role_and_keeps_unended_answers():
    tokenizer = qwen(CHATML.replace("{% if add_generation_prompt %}", "{% if false %}"))
    assert chat_format(tokenizer).lead == "<|im_start|>assistant\n"
    assert decode_answer(tokenizer, encode_completion(tokenizer, "[0]")) == ("[0]", True)
    assert tokenizer.decode(encode_unended_answer(tokenizer, "[0], [1")) == "<|im_start|>assistant\n[0], [1"
    cut = encode_unended_answer(tokenizer, "[0], <|im_end|>[1")
    assert tokenizer.decode(cut) == "<|im_start|>assistant\n[0], "


def test_a_template_that_explains_itself_in_several_lines_is_quoted_in_one():
    (problem,) = problems_of(chat_format, qwen("{{ raise_exception('No.\\nA system message must come first.') }}"))
    assert problem.endswith("TemplateError: No. A system message must come first.")


def test_named_templates_need_a_default():
    tokenizer = tiny_tokenizer(FAMILIES["qwen2"])
    tokenizer.chat_template = {"rag": CHATML, "tool_use": CHATML}
    (problem,) = problems_of(chat_format, tokenizer)
    assert "no default" in problem
    tokenizer.chat_template = {"default": CHATML, "tool_use": "{{ 1 / 0 }}"}
    assert chat_format(tokenizer).end == tokenizer.eos_token_id


def test_an_answer_needs_some_token_that_ends_it():
    tokenizer = qwen("{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}")
    tokenizer.eos_token = None
    (problem,) = problems_of(chat_format, tokenizer)
    assert "never end its answers" in problem


def test_a_prompt_that_the_template_would_cut_is_reported_with_its_row():
    thinking = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
    rows = [Row(text, "[0]", 1.0, "", {}, number) for number, text in enumerate(("a", "b </think> c"), start=1)]
    (problem,) = problems_of(list, encode_rows(qwen(thinking), rows, 100))
    assert problem.startswith("row 2: ") and "changes the text of the prompt" in problem


def test_the_embedded_models_tokens_are_the_ones_it_was_trained_with():
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    messages = [{"role": "user", "content": REQUEST}]
    prompt = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)).input_ids
    answer = [*tokenizer(ANSWER + "\n").input_ids, tokenizer.eos_token_id]
    assert encode_row(tokenizer, REQUEST, ANSWER)["input_ids"] == prompt + answer
    ids = json.dumps(encode_row(tokenizer, REQUEST, ANSWER)["input_ids"]).encode()
    assert hashlib.sha256(ids).hexdigest()[:16] == "78a677e8a47ba80f"
