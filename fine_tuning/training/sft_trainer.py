"""TRL's trainer for supervised fine-tuning, for an adapter."""

from trl import SFTTrainer

from fine_tuning.training.trainer import AdapterTrainerMixin


class AdapterSftTrainer(AdapterTrainerMixin, SFTTrainer):
    """Trains a PEFT model on rows of `input_ids` and `labels`. The loss is TRL's, on the completion alone."""
