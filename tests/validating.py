"""A command for `forked_job.py`: validate the embedded model, and print what this process has answered and what it got.

python tests/validating.py FOLDER
"""

import json
import sys
from dataclasses import astuple
from pathlib import Path

from helpers import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from fine_tuning.data.csv_rows import Row
from fine_tuning.run.processes import processes
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.validation import validate
from fine_tuning.training.collectives import end_group, start_group

NODE = "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
FOLDER = ROOT / "fine_tuning" / "embedded_model"


class CountingDecoder(Decoder):
    """Remembers how many answers it was asked for."""

    asked = 0

    def answer_batches(self, batches, *others):
        for answers in super().answer_batches(batches, *others):
            self.asked += len(answers)
            yield answers


def main() -> None:
    start_group()
    rows = [Row(f"draw {k} boxes", NODE, 1.0, "family", {}) for k in (3, 1, 4, 1, 5)]
    decoder = CountingDecoder(
        AutoModelForCausalLM.from_pretrained(FOLDER).eval(), AutoTokenizer.from_pretrained(FOLDER), 2
    )
    validation = validate(decoder, rows, 7, "validation")
    figures = {name: value for name, value in validation.figures().items() if "second" not in name}
    answers = [astuple(answer) for answer in validation.answers]
    content = {"asked": decoder.asked, "answers": answers, "figures": figures}
    Path(sys.argv[1], f"{processes().rank}.json").write_text(json.dumps(content))
    end_group()
