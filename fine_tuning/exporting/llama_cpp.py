"""llama.cpp as a reader of GGUF files, from the optional package xllamacpp. It runs in a process of its own."""

import contextlib
import http.client
import importlib.util
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fine_tuning.exporting import llama_server
from fine_tuning.run.errors import UserError
from fine_tuning.run.processors import usable_processors

LLAMA_CPP_PACKAGE = "xllamacpp==2026.10.11549"
MISSING = f"the package xllamacpp is missing. To compare: python -m pip install {LLAMA_CPP_PACKAGE}"
SECONDS_TO_LOAD = 300
SECONDS_TO_ANSWER = 1800
SEVERAL = 20  # tokens whose probabilities are asked for


class LlamaCppFailed(Exception):
    """llama.cpp does not run on this machine, whatever the file. The text says why, on one line."""


class LlamaCpp:
    """A server with one GGUF file on the CPU. Use it as a context manager.

    Raises UserError if llama.cpp cannot load the file, and LlamaCppFailed, from every method, if its process dies.
    """

    def __init__(self, path: Path, context: int, threads: int | None = None) -> None:
        if not is_installed():
            raise LlamaCppFailed(MISSING)
        # By its path, and with -P, so that it finds only the package, not modules of this project.
        command = [sys.executable, "-P", llama_server.__file__, path, context, threads or usable_processors()]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # Not through a proxy: the server is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        found = json.loads(self._first_line())
        if "problem" in found:
            self.close()
            raise UserError(f"llama.cpp cannot load {path.name} ({found['problem']})")
        self.address: str = found["address"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def post(self, place: str, **content: Any) -> dict[str, Any]:
        """Send a JSON object to a path of the server; returns the object that it answers with."""
        data = json.dumps(content).encode()
        request = urllib.request.Request(f"{self.address}/{place}", data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=SECONDS_TO_ANSWER) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise LlamaCppFailed(f"llama.cpp refuses a request: {error.read(300).decode()!r}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._failure() from error
        return answer

    def tokens(self, text: str) -> list[int]:
        """A text's token ids, special tokens included, as the server tokenises a rendered prompt."""
        ids: list[int] = self.post("tokenize", content=text, add_special=True, parse_special=True)["tokens"]
        return ids

    def prompt(self, request: str) -> str:
        """The prompt that the server makes from a user's message with the file's chat template."""
        text: str = self.post("apply-template", messages=[{"role": "user", "content": request}])["prompt"]
        return text

    def answer(self, prompt: Sequence[int] | str, longest: int) -> list[int]:
        """The greedy answer's token ids, at most `longest`, with the one that ends it."""
        ids = prompt if isinstance(prompt, str) else list(prompt)
        tokens: list[int] = self.post("completion", prompt=ids, n_predict=longest, temperature=0, return_tokens=True)[
            "tokens"
        ]
        return tokens

    def log_probabilities(self, prompt: Sequence[int], number: int = SEVERAL) -> dict[int, float]:
        """The most likely next tokens after a prompt, and their log-probabilities."""
        # The server leaves them out if it chooses a part of a character. So it is made to choose a letter; the bias
        # does not change the probabilities that it gives.
        letter = self.post("tokenize", content="a", add_special=False)["tokens"][0]
        bias = [[letter, 1000]]
        result = self.post(
            "completion", prompt=list(prompt), n_predict=1, temperature=0, n_probs=number, logit_bias=bias
        )
        return {each["id"]: each["logprob"] for each in result["completion_probabilities"][0]["top_logprobs"]}

    def _first_line(self) -> str:
        """The line in which the process says that it is ready."""
        stopper = threading.Timer(SECONDS_TO_LOAD, self._process.kill)
        stopper.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
        finally:
            stopper.cancel()
        if not line:
            raise self._failure()
        return line

    def _failure(self) -> LlamaCppFailed:
        """Why the process gives no answer. Ends it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        status = self._process.poll()
        self.close()
        if status is None:
            return LlamaCppFailed(f"llama.cpp gives no answer within {SECONDS_TO_ANSWER // 60} minutes")
        if status >= 0:
            return LlamaCppFailed(f"llama.cpp ended with status {status}. Install its package again")
        name = signal.Signals(-status).name
        reason = " (this processor lacks an instruction that the package's build uses)" if name == "SIGILL" else ""
        return LlamaCppFailed(f"llama.cpp ended with {name}{reason}")


def is_installed() -> bool:
    """True if the optional package is there; it is not imported."""
    return importlib.util.find_spec("xllamacpp") is not None
