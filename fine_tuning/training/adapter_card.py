"""The model card (README.md) in an adapter's folder: its base model, and a program that loads and asks it."""

import json
from collections.abc import Sequence
from pathlib import Path

from fine_tuning.data.prompt_frame import FRAME_FILE
from fine_tuning.run.files import write_atomically
from fine_tuning.run.markdown import escape
from fine_tuning.run.options import Options

CARD_FILE = "README.md"
UNFINISHED = "Its training run has not finished."

CARD = """---
library_name: peft
base_model: {quoted}
---

A LoRA adapter for {name} that answers a request in English with the text of a diagram. {unfinished}

The training log says what it was trained on, and shows its answers. `run.json` holds the settings.{where}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained({source!r}, dtype={dtype!r}{revision})
    model = PeftModel.from_pretrained(model, "this folder")
    tokenizer = AutoTokenizer.from_pretrained("this folder")

A prompt is the request between two texts that its training data has around every request. They are in
`{frame_file}`:

    import json

    frame = json.load(open("this folder/{frame_file}"))
    prompt = frame["beginning"] + request + frame["end"]
    text = tokenizer.apply_chat_template(
        [{{"role": "user", "content": prompt}}], tokenize=False, add_generation_prompt=True
    )
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    answer = model.generate(**inputs, max_new_tokens=1280, do_sample=False{stop})[0, inputs.input_ids.shape[1] :]
    print(tokenizer.decode(answer, skip_special_tokens=True).removesuffix("\\n"))
"""


def adapter_card(options: Options, dtype: str, stop: Sequence[int] = ()) -> str:
    """The card of an adapter that was trained on base weights in `dtype`. `add_verdict` completes it.

    `stop` are the tokens at which generation must stop; empty if EOS alone is enough.
    """
    revision = f", revision={options.revision!r}" if options.revision else ""
    source, where = options.model_name, ""
    if options.is_embedded:  # relative, so that the card shows no path of this machine
        source = "fine_tuning/embedded_model"
        where = " Its base model is part of the project. This runs in the project's folder:"
    elif Path(options.model).is_dir():
        source = f"the folder of {options.model_name}"  # only its name, not its path on this machine
    return CARD.format(
        frame_file=FRAME_FILE,
        name=escape(options.model_name),
        quoted=json.dumps(options.model_name),
        where=where,
        unfinished=UNFINISHED,
        source=source,
        dtype=dtype,
        revision=revision,
        stop=f", eos_token_id={list(stop)}" if stop else "",
    )


def add_verdict(folder: Path, lines: Sequence[str]) -> None:
    """Write the verdict on a finished run into the card of its adapter, in `folder`, if there is one."""
    if not (folder / CARD_FILE).is_file():
        return
    verdict = "Its training run:\n\n" + "\n".join(f"- {line}" for line in lines)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    write_atomically(folder / CARD_FILE, card.replace(UNFINISHED, verdict, 1))
