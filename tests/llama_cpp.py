"""llama.cpp for tests: they skip, and say why, where its package is missing or its process crashes on this machine."""

from pathlib import Path
from typing import Any

import pytest

from fine_tuning.exporting import llama_cpp
from fine_tuning.exporting.llama_cpp import LlamaCppFailed


class LlamaCpp(llama_cpp.LlamaCpp):
    """llama.cpp with one CPU thread."""

    def __init__(self, path: Path, context: int = 2048) -> None:
        try:
            super().__init__(path, context, threads=1)
        except LlamaCppFailed as error:
            pytest.skip(str(error))

    def post(self, place: str, **content: Any) -> dict[str, Any]:
        try:
            return super().post(place, **content)
        except LlamaCppFailed as error:
            if "refuses" in str(error):
                raise
            pytest.skip(str(error))
