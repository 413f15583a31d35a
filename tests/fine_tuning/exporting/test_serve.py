"""`transformers serve` answers from an exported folder as ask.py does."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from helpers import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.import_utils import is_serve_available

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.data.tokens import encode_prompt
from fine_tuning.exporting.merged import save_merged
from fine_tuning.sampling.generation import generate_batch, merge_for_generation

EMBEDDED = ROOT / "fine_tuning" / "embedded_model"
REQUEST = f"Draw how 3 inputs feed 2 neurons.\n\n{INSTRUCTION}"


@pytest.fixture
def server(tmp_path):
    """The server, on a folder with the embedded model; yields its address and the folder."""
    if not is_serve_available():
        pytest.skip("transformers serve is missing: python -m pip install 'transformers[serving]'")
    tokenizer, model = AutoTokenizer.from_pretrained(EMBEDDED), AutoModelForCausalLM.from_pretrained(EMBEDDED)
    save_merged(model, tokenizer, tmp_path / "merged")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "serve",
        str(tmp_path / "merged"),
        "--host",
        "127.0.0.1",
        "--device",
        "cpu",
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}", tmp_path / "merged", process
    finally:
        process.kill()
        process.wait()


def ask(address, process, content):
    data = json.dumps(content).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(240):
        assert process.poll() is None, "the server has ended"
        try:
            with opener.open(request, timeout=120) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not start")


def test_the_server_answers_a_message_as_ask_does(server):
    address, folder, process = server
    content = {"model": str(folder), "messages": [{"role": "user", "content": REQUEST}], "max_tokens": 60}
    answer = ask(address, process, content)["choices"][0]["message"]["content"]
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    model = merge_for_generation(AutoModelForCausalLM.from_pretrained(EMBEDDED))
    (expected,) = generate_batch(model, tokenizer, [encode_prompt(tokenizer, REQUEST)], 60, 0, 0)
    assert answer.removesuffix("\n") == expected.text and len(expected.text) > 20
