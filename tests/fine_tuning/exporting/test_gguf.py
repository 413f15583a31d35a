"""llama.cpp reads from a GGUF file the tokens and the model that transformers has."""

import json
import string

import pytest
import torch
from families import FAMILIES, VOCABULARY, tiny_tokenizer
from helpers import ROOT, SFT_CSV, problems_of, rows_of
from llama_cpp import LlamaCpp
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from fine_tuning.exporting.gguf_model import gguf_model
from fine_tuning.exporting.gguf_tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, vocabulary
from fine_tuning.exporting.pre_tokenizer import PRE_TOKENIZERS
from fine_tuning.run.errors import explain

gguf = pytest.importorskip("gguf", reason="the optional package gguf is missing")
from fine_tuning.exporting.gguf_file import write_gguf  # noqa: E402  # it needs gguf

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
EMBEDDED = ROOT / "fine_tuning" / "embedded_model"
ROWS = rows_of(SFT_CSV)[::10]
ODD_TEXTS = [
    "it's I'LL  two   spaces\n\n\n  12345 x=3.14;\ttab\r\nend \n",
    "한국어 다이어그램 日本語 café naïve — “quotes” 🙂",
    string.printable,
    "Á ü ÷ ø",  # tokens of their own in deepseek-coder
]
LINEAR = {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}}
LLAMA3 = {
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
}
SMALL = {
    "vocab_size": VOCABULARY + 64,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
    "pad_token_id": None,
}


def real_tokenizer():
    if not REAL.is_dir():
        pytest.skip(f"the real tokenizer is not at {REAL}")
    return AutoTokenizer.from_pretrained(REAL)


def make_model(family, **changes):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(SMALL | changes))).eval()
    for name, weights in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weights, std=0.2)
    return model


def write(path, model, tokenizer, pre=None, quantization="f16"):
    """Write a GGUF file; returns its path."""
    rows = model.get_input_embeddings().weight.shape[0]
    settings = gguf_model(model.config.to_dict(), rows)
    write_gguf(path, "tiny", model, settings, vocabulary(tokenizer, rows, pre), quantization)
    return path


def split_like(steps):
    """A tokenizer with the embedded model's merges that splits text by these steps."""
    stored = json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))
    parts = [part(*step) for step in steps]
    stored["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts}
    stored["model"]["ignore_merges"] = PRE_TOKENIZERS[steps] == "llama-bpe"
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(stored)),
        chat_template=(EMBEDDED / "chat_template.jinja").read_text(encoding="utf-8"),
        bos_token="<|begin|>",
        eos_token="<|EOT|>",
        pad_token="<|pad|>",
    )


def part(kind, *values):
    if kind == "Split":
        return {"type": "Split", "pattern": {"Regex": values[0]}, "behavior": "Isolated", "invert": False}
    if kind == "Digits":
        return {"type": "Digits", "individual_digits": values[0]}
    return {"type": "ByteLevel", "add_prefix_space": values[0], "trim_offsets": True, "use_regex": values[1]}


def rendered(tokenizer, row):
    messages = [{"role": "user", "content": row["input_data"]}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def next_log_probabilities(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def greedy(model, ids, longest, eos):
    prompt = torch.tensor([ids])
    settings = {"max_new_tokens": longest, "do_sample": False, "eos_token_id": eos, "pad_token_id": eos}
    with torch.inference_mode():
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    answer = output[0, len(ids) :].tolist()
    return answer[: answer.index(eos) + 1] if eos in answer else answer


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A narrow model of the real architecture with the real tokenizer, and llama.cpp with its file in F16."""
    tokenizer = real_tokenizer()
    config = AutoConfig.from_pretrained(REAL)
    narrow = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 4}
    for name, value in (narrow | {"num_hidden_layers": 2, "initializer_range": 0.2, "head_dim": 64}).items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    path = write(tmp_path_factory.mktemp("real") / "real.gguf", model, tokenizer)
    with LlamaCpp(path) as llama:
        yield model, tokenizer, llama


def test_prompts_and_answers_have_the_tokens_of_the_real_tokenizer(real):
    _, tokenizer, llama = real
    texts = [rendered(tokenizer, row) + row["output_data"] + "\n<|EOT|>" for row in ROWS] + ODD_TEXTS
    assert [text for text in texts if llama.tokens(text) != ids_of(tokenizer, text)] == []


def test_the_server_makes_the_prompt_of_the_chat_template_with_one_bos(real):
    _, tokenizer, llama = real
    prompt = rendered(tokenizer, ROWS[0])
    assert llama.prompt(ROWS[0]["input_data"]) == prompt
    assert llama.tokens(prompt).count(tokenizer.bos_token_id) == 1


def test_a_model_of_the_real_architecture_gives_the_same_greedy_answers_but_for_ties(real):
    model, tokenizer, llama = real
    for row in ROWS[:3]:
        ids = ids_of(tokenizer, rendered(tokenizer, row))
        ours, theirs = greedy(model, ids, 24, tokenizer.eos_token_id), llama.answer(ids, 24)
        place = next((k for k in range(24) if ours[k] != theirs[k]), None)
        if place is not None:  # random weights give near ties, which rounding to float16 decides
            scores = next_log_probabilities(model, ids + ours[:place])
            assert abs(scores[ours[place]] - scores[theirs[place]]) < 0.05


def test_logits_of_the_real_architecture_cut_to_2_layers_agree_within_a_twentieth(tmp_path, llama):
    """In full width, with random weights. Logits count up to a constant, so their log-probabilities are compared."""
    tokenizer = real_tokenizer()
    config = AutoConfig.from_pretrained(REAL)
    config.num_hidden_layers, config.initializer_range = 2, 0.06
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    server = llama(write(tmp_path / "real.gguf", model, tokenizer))
    ids = ids_of(tokenizer, rendered(tokenizer, ROWS[0]) + ROWS[0]["output_data"])[:400]
    ours, theirs = next_log_probabilities(model, ids), server.log_probabilities(ids, 1000)
    assert len(theirs) == 1000 and max(theirs.values()) - min(theirs.values()) > 1
    assert max(abs(ours[k].item() - value) for k, value in theirs.items()) < 0.05


def test_every_row_of_the_embedding_has_a_token_of_the_right_type():
    tokenizer = real_tokenizer()
    found = vocabulary(tokenizer, 32256)
    assert (len(found.tokens), found.types.count(UNUSED), len(set(found.tokens))) == (32256, 234, 32256)
    kinds = {name: found.types[tokenizer.convert_tokens_to_ids(name)] for name in ("Ġthe", "ü", "<|EOT|>", "<|User|>")}
    assert kinds == {"Ġthe": NORMAL, "ü": USER_DEFINED, "<|EOT|>": CONTROL, "<|User|>": USER_DEFINED}
    assert (found.pre, found.bos, found.stop, found.pad) == ("deepseek-coder", 32013, (32021,), 32014)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", LINEAR),
        ("llama", LLAMA3),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
        ("llama", {"num_key_value_heads": 4, "head_dim": 64}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 64}),
    ],
)
def test_llama_cpp_computes_the_same_probabilities(tmp_path, llama, family, changes):
    model, tokenizer = make_model(family, **changes), split_like(next(iter(PRE_TOKENIZERS)))
    server = llama(write(tmp_path / "tiny.gguf", model, tokenizer))
    ids = [(7 * k * k) % 1500 + 3 for k in range(201)]
    ours, theirs = next_log_probabilities(model, ids), server.log_probabilities(ids, 20)
    assert len(theirs) == 20 and max(abs(ours[k].item() - value) for k, value in theirs.items()) < 0.05


def test_the_likely_tokens_are_known_also_where_the_likeliest_begins_a_character(tmp_path, llama):
    first_bytes = {*map(chr, range(0xC3, 0xF5))}  # of characters of several bytes, as byte-level tokens spell them
    model, tokenizer = make_model("llama"), split_like(next(iter(PRE_TOKENIZERS)))

    def starts(scores):
        number = scores[: len(tokenizer)].argmax().item()
        return number == scores.argmax() and tokenizer.convert_ids_to_tokens(number)[-1] in first_bytes

    likeliest = (([number], next_log_probabilities(model, [number])) for number in range(3, len(tokenizer)))
    ids, ours = next(found for found in likeliest if starts(found[1]))
    theirs = llama(write(tmp_path / "tiny.gguf", model, tokenizer)).log_probabilities(ids, 5)
    assert max(theirs, key=theirs.__getitem__) == ours.argmax()


def test_eight_bits_are_close_to_sixteen(tmp_path, llama):
    model, tokenizer = make_model("llama"), split_like(next(iter(PRE_TOKENIZERS)))
    path = write(tmp_path / "tiny.gguf", model, tokenizer, quantization="q8_0")
    ids = [(7 * k * k) % 1500 + 3 for k in range(50)]
    ours, theirs = next_log_probabilities(model, ids), llama(path).log_probabilities(ids, 5)
    assert max(abs(ours[k].item() - value) for k, value in theirs.items()) < 0.5
    assert path.stat().st_size < 0.6 * write(tmp_path / "half.gguf", model, tokenizer).stat().st_size


@pytest.mark.parametrize("steps", PRE_TOKENIZERS, ids=PRE_TOKENIZERS.get)
def test_each_pre_tokenizer_splits_text_as_its_name_says(tmp_path, llama, steps):
    tokenizer = split_like(steps)
    server = llama(write(tmp_path / "tiny.gguf", make_model("llama"), tokenizer))
    texts = [rendered(tokenizer, row) + row["output_data"] for row in ROWS[:20]] + ODD_TEXTS[:2]
    assert [text for text in texts if server.tokens(text) != ids_of(tokenizer, text)] == []


def test_the_embedded_models_weights_answer_alike_in_f16(tmp_path, llama):
    """Its tokenizer has no counterpart in llama.cpp, so this feeds token ids."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    server = llama(write(tmp_path / "embedded.gguf", model, tokenizer, pre="gpt-2"))
    for row in ROWS[:4]:
        ids = ids_of(tokenizer, rendered(tokenizer, row))
        answer = greedy(model, ids, 150, tokenizer.eos_token_id)
        assert server.answer(ids, 150) == answer and len(answer) > 20


def test_an_answer_ends_at_the_token_that_ends_answers(tmp_path):
    tokenizer, model = split_like(next(iter(PRE_TOKENIZERS))), make_model("llama")
    path = write(tmp_path / "tiny.gguf", model, tokenizer)
    fields = gguf.GGUFReader(path).fields
    ids = {name: fields[f"tokenizer.ggml.{name}_token_id"].contents() for name in ("bos", "eos", "eot", "padding")}
    assert ids == {"bos": 0, "eos": 1, "eot": 1, "padding": 2}
    assert fields["tokenizer.ggml.add_bos_token"].contents() is False  # the chat template writes it


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    tokenizer, model = split_like(next(iter(PRE_TOKENIZERS))), make_model("llama")

    def full(*_):
        raise OSError("8192 requested and 0 written")  # numpy's error has no number

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", full)
    with pytest.raises(OSError) as raised:
        write(tmp_path / "tiny.gguf", model, tokenizer)
    assert explain(raised.value) == f"{tmp_path / 'tiny.gguf'}: No space left on device. Free some space there"


def test_a_weight_that_float16_cannot_hold_is_refused(tmp_path):
    tokenizer, model = split_like(next(iter(PRE_TOKENIZERS))), make_model("llama")
    model.lm_head.weight.data[3, 3] = 1e5
    (problem,) = problems_of(write, tmp_path / "tiny.gguf", model, tokenizer)
    assert problem == "--quantize f16: output.weight has weights above 65504. Use --quantize q8_0"


@pytest.mark.parametrize("family", ["tinyllama", "mistral", "gemma"])
def test_a_sentencepiece_tokenizer_is_refused(family):
    (problem,) = problems_of(vocabulary, tiny_tokenizer(FAMILIES[family]), VOCABULARY)
    assert "is not a byte-level BPE" in problem


def test_the_embedded_models_tokenizer_is_refused():
    (problem,) = problems_of(vocabulary, AutoTokenizer.from_pretrained(EMBEDDED), VOCABULARY)
    assert "splits text in its own way" in problem and "deepseek-coder" in problem
