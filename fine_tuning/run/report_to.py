"""The dashboards that `--report-to` can write to, and whether their packages are installed. Imports none of them."""

import importlib.util

from fine_tuning.run.errors import UserError

# What to install for each value of --report-to: the tested versions.
PACKAGES = {"tensorboard": "tensorboard==2.21.0", "wandb": "wandb==0.31.0", "trackio": "trackio==0.43.0"}


def check_report_to(dashboard: str | None) -> None:
    """Raise UserError if the package of a dashboard is missing. None is no dashboard."""
    if dashboard is not None and importlib.util.find_spec(dashboard) is None:
        raise UserError(
            f"--report-to {dashboard} needs the package {dashboard}: python -m pip install {PACKAGES[dashboard]}"
        )
