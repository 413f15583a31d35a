"""The model card (README.md) of an export: what it is, and how to ask it."""

import json
from collections.abc import Sequence

from fine_tuning.data.prompt_frame import FRAME_FILE, PromptFrame
from fine_tuning.exporting.plan import Plan
from fine_tuning.run.markdown import bullets, escape

CARD = """---
library_name: {library}
base_model: {quoted}
---

{name}, fine-tuned to answer a request in English with the text of a diagram. The LoRA adapter is merged into the
weights. `export.json` says what this was made from.{note}
{facts}
## How to ask it

A prompt is the request between two texts that the training data has around every request. They are in
`{frame_file}`, and your program must add them. For the request "{example}", the messages to send are

    {messages}
{program}"""
EXAMPLE = "a flowchart: sales data -> price model -> report"
MERGED = """
    import json

    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("this folder", torch_dtype={dtype!r})
    tokenizer = AutoTokenizer.from_pretrained("this folder")
    frame = json.load(open("this folder/{frame_file}"))
    prompt = frame["beginning"] + request + frame["end"]
    text = tokenizer.apply_chat_template(
        [{{"role": "user", "content": prompt}}], tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    answer = model.generate(**inputs, max_new_tokens=1280)[0, inputs.input_ids.shape[1] :]
    print(tokenizer.decode(answer, skip_special_tokens=True).removesuffix("\\n"))
"""
SERVE = """
Or start a server, and send it these messages:

    transformers serve "this folder"
"""
GGUF = """
The chat template is in the file. Start llama.cpp's server, and send it these messages:

    llama-server -m {file} --jinja --temp 0

Both texts are in the Modelfile too, so with Ollama you type only the request:

    ollama create diagrams -f Modelfile
    ollama run diagrams "{example}"
"""
FOUR_BITS = """

The adapter was trained on base weights in 4 bits. It is merged into the original weights, so answers may differ
a little from those of the run."""


def merged_card(plan: Plan, dtype: str, compared: Sequence[str]) -> str:
    """The card of merged weights in `dtype`. `compared` says how they were compared with base model and adapter."""
    return _card(plan, "transformers", compared, MERGED.format(dtype=dtype, frame_file=FRAME_FILE) + SERVE)


def gguf_card(plan: Plan, file: str, compared: Sequence[str]) -> str:
    """The card of GGUF files, of which it recommends `file`."""
    return _card(plan, "gguf", compared, GGUF.format(file=file, example=EXAMPLE))


def messages_for(frame: PromptFrame, request: str) -> str:
    """The messages to send to a chat server, as JSON on one line: a prompt like those that the model was trained on."""
    return json.dumps([{"role": "user", "content": frame.prompt_of(request)}], ensure_ascii=False)


def _card(plan: Plan, library: str, compared: Sequence[str], program: str) -> str:
    lists = {"How good its answers were in training": plan.verdict, "Compared when it was exported": compared}
    facts = "".join(f"\n## {heading}\n\n{bullets(lines)}\n" for heading, lines in lists.items() if lines)
    return CARD.format(
        frame_file=FRAME_FILE,
        library=library,
        quoted=json.dumps(plan.options.model_name),
        name=escape(plan.options.model_name),
        note=FOUR_BITS if plan.was_4bit else "",
        facts=facts,
        example=EXAMPLE,
        messages=messages_for(plan.frame, EXAMPLE),
        program=program,
    )
