"""The Modelfile with which Ollama takes over a GGUF file."""

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.exporting.ending import stop_texts

REQUEST = "the-request-stands-here"
# Ollama's default penalises repetition, but the lines of a diagram repeat.
MODELFILE = '''FROM ./{file}
TEMPLATE """{before}{{{{ .Prompt }}}}{after}{{{{ .Response }}}}"""
PARAMETER temperature 0
PARAMETER repeat_penalty 1
PARAMETER num_ctx {context}
PARAMETER num_predict {longest}
'''


def modelfile(tokenizer: PreTrainedTokenizerBase, file: str, frame: PromptFrame, context: int, longest: int) -> str:
    """A Modelfile for `file`. The user types the request; the frame and the chat template are added around it.

    `context` and `longest` are numbers of tokens: of prompt and answer together, and of the answer.
    """
    prompt = frame.prompt_of(REQUEST)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    before, _, after = map(_literal, str(text).partition(REQUEST))
    stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in stop_texts(tokenizer))
    return MODELFILE.format(file=file, before=before, after=after, context=context, longest=longest) + stops


def _literal(text: str) -> str:
    """A text in Ollama's template syntax, in which {{ opens a command and three quotation marks end the template."""
    return text.replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')
