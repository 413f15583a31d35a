"""The model card (README.md) of an export: what it is, and how to ask it."""

import json
from collections.abc import Sequence

from fine_tuning.data.prompt_frame import FRAME_FILE
from fine_tuning.run.markdown import escape
from fine_tuning.run.options import Options

HEAD = """---
library_name: {library}
base_model: {quoted}
---

{name}, fine-tuned to answer a request in English with the text of a diagram. The LoRA adapter is merged into the
weights. `export.json` says what this was made from.{note}

A prompt is the request between two texts that the training data has around every request. They are in
`{frame_file}`.
"""
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
GGUF = """
The chat template is in the file. With llama.cpp, add the two texts yourself:

    llama-server -m {file} --jinja --temp 0

With Ollama, which adds them:

    ollama create diagrams -f Modelfile
    ollama run diagrams "a flowchart: ..."
"""
FOUR_BITS = """

The adapter was trained on base weights in 4 bits. It is merged into the original weights, so answers may differ
a little from those of the run."""


def merged_card(options: Options, dtype: str, was_4bit: bool) -> str:
    """The card of merged weights in `dtype`."""
    return _head(options, "transformers", was_4bit) + MERGED.format(dtype=dtype, frame_file=FRAME_FILE)


def gguf_card(options: Options, files: Sequence[str], was_4bit: bool) -> str:
    """The card of GGUF files."""
    return _head(options, "gguf", was_4bit) + GGUF.format(file=files[-1])


def _head(options: Options, library: str, was_4bit: bool) -> str:
    return HEAD.format(
        frame_file=FRAME_FILE,
        library=library,
        quoted=json.dumps(options.model_name),
        name=escape(options.model_name),
        note=FOUR_BITS if was_4bit else "",
    )
