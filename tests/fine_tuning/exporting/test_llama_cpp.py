"""llama.cpp runs in a process of its own: whatever happens to it becomes one line."""

import pytest

from fine_tuning.exporting import llama_cpp, llama_server
from fine_tuning.exporting.llama_cpp import LLAMA_CPP_PACKAGE, LlamaCpp, LlamaCppFailed
from fine_tuning.run.errors import UserError

KILLED = "import os, signal; os.kill(os.getpid(), signal.{})\n"
READY = 'print(\'{"address": "http://127.0.0.1:9"}\', flush=True)\n'


def failure_of(run) -> str:
    with pytest.raises(LlamaCppFailed) as raised:
        run()
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def server_program(tmp_path, monkeypatch):
    """Put another program in the place of the server."""

    def server_program(text: str) -> None:
        (tmp_path / "server.py").write_text(text)
        monkeypatch.setattr(llama_server, "__file__", str(tmp_path / "server.py"))
        monkeypatch.setattr(llama_cpp, "is_installed", lambda: True)

    return server_program


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    text = failure_of(lambda: LlamaCpp(tmp_path / "a.gguf", 100))
    assert text.endswith(f"python -m pip install {LLAMA_CPP_PACKAGE}")


def test_a_missing_instruction_ends_the_child_alone(tmp_path, server_program):
    server_program(KILLED.format("SIGILL"))
    text = failure_of(lambda: LlamaCpp(tmp_path / "a.gguf", 100))
    assert text == "llama.cpp ended with SIGILL (this processor lacks an instruction that the package's build uses)"


def test_a_crash_while_it_answers_ends_the_child_alone(tmp_path, server_program):
    server_program(READY + KILLED.format("SIGSEGV"))
    with LlamaCpp(tmp_path / "a.gguf", 100) as llama:
        assert failure_of(lambda: llama.tokens("a")) == "llama.cpp ended with SIGSEGV"


def test_a_package_that_cannot_be_imported_is_to_be_installed_again(tmp_path, server_program):
    server_program("raise ImportError('libgomp.so.1')\n")
    text = failure_of(lambda: LlamaCpp(tmp_path / "a.gguf", 100))
    assert "ended with status 1" in text and "Install" in text


def test_a_child_that_hangs_is_ended(tmp_path, server_program, monkeypatch):
    server_program("import time; time.sleep(60)\n")
    monkeypatch.setattr(llama_cpp, "SECONDS_TO_LOAD", 0.5)
    assert "llama.cpp" in failure_of(lambda: LlamaCpp(tmp_path / "a.gguf", 100))


def test_the_server_on_this_machine_is_not_asked_through_a_proxy(tmp_path, server_program, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    answering = (
        "import http.server\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'{\"tokens\": [1, 2]}')\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        'print(\'{"address": "http://127.0.0.1:%d"}\' % server.server_port, flush=True)\n'
        "server.serve_forever()\n"
    )
    server_program(answering)
    with LlamaCpp(tmp_path / "a.gguf", 100) as llama:
        assert llama.tokens("a") == [1, 2]


def test_a_file_that_llama_cpp_cannot_load_is_refused(tmp_path):
    if not llama_cpp.is_installed():
        pytest.skip(llama_cpp.MISSING)
    (tmp_path / "a.gguf").write_bytes(b"no GGUF file" * 100)
    try:
        with pytest.raises(UserError, match=r"llama.cpp cannot load a.gguf"):
            LlamaCpp(tmp_path / "a.gguf", 100)
    except LlamaCppFailed as error:
        pytest.skip(str(error))
