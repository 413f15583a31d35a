"""`TrainingStep`: one run of a script that trains, step 1 or 3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fine_tuning.common import Step
from fine_tuning.data.csv_rows import Row
from fine_tuning.run.presets import OrpoSettings, SftSettings
from fine_tuning.run.processes import processes

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.sampling.validation import Validation
    from fine_tuning.training.memory_check import Loss
    from fine_tuning.training.orpo_trainer import OrpoTrainer
    from fine_tuning.training.pair_batch import EncodedPair
    from fine_tuning.training.sft_trainer import AdapterSftTrainer


class TrainingStep(Step):
    """A `Step` that trains and validates.

    A script calls `check_memory` and `check_forward` before `begin`; after it `trainer_arguments`, `train` and
    `validate`.
    """

    def __init__(self, number: int, description: str | None) -> None:
        super().__init__(number, description)
        self._validations: dict[str, Validation] = {}

    def check_memory(self, loss_of: Loss, example: str, make_model: Callable[[], PeftModel]) -> None:
        """Print the memory that a training step on the longest example needs; on a GPU, also try such a step.

        `example` is what messages call it, "row" or "pair". Raises UserError if the memory is too small.
        """
        from fine_tuning.training.memory_check import check_memory

        lora = self.preset.lora if self.number == 1 else replace(self.preset.lora, dropout=0.0)  # not in ORPO
        self._needs = check_memory(self.options, replace(self.preset, lora=lora), loss_of, example, make_model)

    def check_forward(self, model: PeftModel, pair: EncodedPair) -> None:
        """Compare the forward pass of ORPO's loss with the model's own on a pair: the mean log-probability of a token.

        Raises UserError if they differ.
        """
        from fine_tuning.training.device import choose_dtype
        from fine_tuning.training.forward_check import check_pair_forward

        options = self.options
        difference = check_pair_forward(model, pair, choose_dtype(options.dtype), options.model_name)
        self._needs["difference of the loss's forward pass from the model's own"] = f"{difference:.2g}"

    def trainer_arguments(self, settings: SftSettings | OrpoSettings, examples: int) -> dict[str, Any]:
        """Trainer arguments of step 1 or 3 for a training set of `examples` examples."""
        from fine_tuning.training.device import choose_dtype
        from fine_tuning.training.global_batch import several_examples
        from fine_tuning.training.trainer import trainer_arguments

        folder, dtype = self.state.place / "checkpoints", choose_dtype(self.options.dtype)
        size = self.options.examples_per_step
        if size > 1:
            print(several_examples(size, processes().count))
        return trainer_arguments(self.preset, settings, dtype, self.options.seed, examples, folder, size)

    def train(
        self, trainer: AdapterSftTrainer | OrpoTrainer, bar: str, prompts: Iterable[str], tokens: int
    ) -> dict[str, Any]:
        """Train, from the last checkpoint if there is one, and return the figures.

        `tokens` is the size of the training set. Raises UserError if the loss is not finite or the machine fails. The
        message names the row by its prompt, which is looked up in `prompts`.
        """
        from tqdm import tqdm

        from fine_tuning.training.dashboards import DashboardCallback, Training
        from fine_tuning.training.device import peak_memory_mib
        from fine_tuning.training.graph_setup import graphs_for
        from fine_tuning.training.history import record, training_figures
        from fine_tuning.training.reporter import Reporter
        from fine_tuning.training.time_estimate import TimeEstimate
        from fine_tuning.training.trainer import train

        reporter = Reporter(self.log, bar)
        trainer.add_callback(reporter)
        if self.options.report_to and processes().is_main:
            checkpoints = self.state.place / "checkpoints"
            training = Training(self.state.place.name, self.workspace.log, checkpoints, self.settings)
            trainer.add_callback(DashboardCallback(self.options.report_to, training))
        graphs = graphs_for(trainer, self.options.plain, self.options.load_in_4bit)
        captured = (lambda: graphs.captured) if graphs else lambda: (0, 0.0)
        trainer.add_callback(TimeEstimate(bar, tqdm.write, captured, graphs.buckets if graphs else 0))
        train(trainer, prompts, graphs)
        self.log.set("How the steps were computed", trainer.way)
        self.continues = reporter.first_step > 0
        self._peak_memory = peak_memory_mib()
        history, epochs = trainer.state.log_history, int(trainer.args.num_train_epochs)
        record(self.log, history)
        return training_figures(history, epochs, epochs * tokens, trainer.state.global_step - reporter.first_step)

    def validate(
        self, name: str, model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
    ) -> dict[str, Any]:
        """Answer the prompts of `rows` by greedy decoding, score the answers, and return the figures.

        Merges the adapter into `model`, which cannot be trained afterwards. The log shows all validations of this run
        side by side, each under its name.
        """
        from fine_tuning.sampling.decoder import Decoder
        from fine_tuning.sampling.generation import merge_for_generation
        from fine_tuning.sampling.validation import log_validation, validate

        self.log.progress("Validation: answering the held-out prompts.")
        batch_size, plain = self.preset.sampling.batch_size, self.options.plain
        decoder = Decoder(merge_for_generation(model), tokenizer, batch_size, plain)
        bar = f"validation {name}"
        self._validations[name] = validate(decoder, rows, self.options.seed, bar, score=self.scoring)
        log_validation(self.log, "Validation", self._validations, self.captions(rows))
        return {f"validation {figure}": value for figure, value in self._validations[name].figures().items()}
