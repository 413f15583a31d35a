"""The embedded model's tokenizer: byte-level BPE that encodes the frequent parts of a diagram as single tokens.

The text is first split into pieces: numbers and colours with the comma before them, the quoted names of shapes and
lines, words with the space after them, and the punctuation between two lines. Tokens are merged only inside a piece.
A space belongs to the word before it, so that the name "fraud classifier" starts with the same token in a request and
in a label, after a quotation mark. The fixed instruction of every prompt is one token. The special tokens have the same
roles as deepseek-coder's, and the chat template has the same structure.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from diagram import LINES, SHAPES

BOS, EOS, PAD = "<|begin|>", "<|EOT|>", "<|pad|>"
VOCABULARY = 1792
PIECES = (
    r"(?:, )?\(\d+, \d+, \d+\)|(?:, )?\d+|, '(?:" + "|".join((*SHAPES, *LINES)) + r")'|, '|[A-Za-z][A-Za-z-]* ?"
    r"|[^\dA-Za-z('\s]+[^\dA-Za-z(']*|[^\dA-Za-z]"
)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n' }}"
    "{% else %}{{ '### Response:\n' + message['content'] + '\n' + eos_token + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)


def build_tokenizer(texts: Iterable[str], instruction: str) -> PreTrainedTokenizerFast:
    """Train on `texts`; `instruction` becomes one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 3,  # the instruction and the two headings are added below
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    whole = (f"\n\n{instruction}", "### Instruction:\n", "\n### Response:\n")
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
