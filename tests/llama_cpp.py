"""llama.cpp, from the package xllamacpp, as a reader of GGUF files. Tests that use it skip where it is missing."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest


class LlamaCpp:
    """A server with one model, on one CPU thread."""

    def __init__(self, path: Path, context: int = 2048) -> None:
        xllamacpp = pytest.importorskip(
            "xllamacpp", reason="llama.cpp is missing: python -m pip install xllamacpp==2026.10.11549"
        )
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.n_gpu_layers, params.port = context, 1, 0, 0
        params.warmup = params.fit_params = False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.verbosity = 0
        self.server = xllamacpp.Server(params)

    def _post(self, place: str, **content: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.server.listening_address}/{place}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def tokens(self, text: str) -> list[int]:
        """A text's token ids, special tokens included, as the server tokenises a rendered prompt."""
        ids: list[int] = self._post("tokenize", content=text, add_special=True, parse_special=True)["tokens"]
        return ids

    def prompt(self, request: str) -> str:
        """The prompt that the server makes from a user's message with the file's chat template."""
        text: str = self._post("apply-template", messages=[{"role": "user", "content": request}])["prompt"]
        return text

    def answer(self, prompt: list[int] | str, longest: int) -> tuple[list[int], bool]:
        """The greedy answer's token ids, without the one that ends it, and whether such a token ended it."""
        result = self._post(
            "completion", prompt=prompt, n_predict=longest, temperature=0, return_tokens=True, cache_prompt=False
        )
        ended = result["stop_type"] == "eos"
        return result["tokens"][:-1] if ended else result["tokens"], ended

    def log_probabilities(self, prompt: list[int], number: int) -> dict[int, float]:
        """The most likely next tokens after a prompt, and their log-probabilities."""
        result = self._post("completion", prompt=prompt, n_predict=1, temperature=0, n_probs=number, cache_prompt=False)
        return {each["id"]: each["logprob"] for each in result["completion_probabilities"][0]["top_logprobs"]}
