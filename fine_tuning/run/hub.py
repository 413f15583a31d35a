"""The Hugging Face hub's cache and the network, asked without importing huggingface_hub.

The library reads HF_HUB_OFFLINE when it is imported, and without a network it retries for minutes.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

from fine_tuning.run.errors import UserError

PATIENCE = 8.0  # seconds to wait for an answer of the hub


def cached_snapshot(model: str, revision: str | None) -> Path:
    """The folder in the hub's cache that holds this commit of a hub model once it has been downloaded."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")
    folder = f"models--{model.replace('/', '--')}"
    return Path(os.path.expandvars(cache)).expanduser() / folder / "snapshots" / (revision or "main")


def is_cached(model: str, revision: str | None) -> bool:
    """True if configuration, tokenizer, chat template and all weights of this commit are in the cache."""
    folder = cached_snapshot(model, revision)
    try:
        settings = (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    has_template = '"chat_template"' in settings or (folder / "chat_template.jinja").exists()
    has_files = all((folder / name).exists() for name in ("config.json", "tokenizer.json"))
    return has_template and has_files and has_weights(folder)


def has_weights(folder: Path) -> bool:
    """True if a folder holds weights as safetensors, with every shard that their index names."""
    index = folder / "model.safetensors.index.json"
    return not missing_shards(index) if index.exists() else (folder / "model.safetensors").exists()


def missing_shards(index: Path) -> list[str]:
    """The files that an index of weights names and its folder lacks. The index itself, if it cannot be read."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [name for name in names if not (index.parent / name).exists()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [index.name]


def is_offline() -> bool:
    """True if the user or `set_environment` has told the libraries to use the cache alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def check_hub(model: str, revision: str | None) -> None:
    """Raise UserError if a hub model can be loaded neither from the cache nor from the hub. Takes seconds."""
    if is_cached(model, revision):
        return
    where = f"--model {model}: not all files of revision {revision} are in {cached_snapshot(model, revision).parent}"
    if is_offline():
        raise UserError(f"{where}, and HF_HUB_OFFLINE forbids downloading them. Unset it, or download the model first")
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if reason := unreachable(endpoint):
        raise UserError(
            f"{where}, and {endpoint} cannot be reached ({reason}). Connect this machine, or copy the model's folder "
            "from another one and name it with --model. If the cache does hold what is needed, set HF_HUB_OFFLINE=1"
        )


def unreachable(endpoint: str) -> str:
    """Why an address does not answer; empty if it does. An answer of any status will do: the libraries say more."""
    reason = [f"no answer in {PATIENCE:.0f} seconds"]

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE).close()
            reason[0] = ""
        except urllib.error.HTTPError as error:
            reason[0] = "" if error.code != 407 and error.code < 500 else str(error)
        except (OSError, ValueError) as error:
            reason[0] = str(getattr(error, "reason", error)) or type(error).__name__

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(PATIENCE)
    return reason[0]
