"""What the tests of the import share."""

import json
from types import SimpleNamespace

import pytest

from fine_tuning import import_dataset
from fine_tuning.data.csv_rows import read_rows


@pytest.fixture
def importing(tmp_path, monkeypatch, capsys):
    """Import files, given by name and content, into a new workspace; returns what was printed and the rows written."""

    def importing(*flags: str, workspace: str = "mine", **files: str | bytes | object) -> SimpleNamespace:
        paths = []
        for name, content in files.items():
            path = tmp_path / name.replace("__", ".")
            if not isinstance(content, str | bytes):
                content = json.dumps(content)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            paths.append(str(path))
        folder = tmp_path / workspace
        monkeypatch.setattr("sys.argv", ["import_dataset.py", *paths, "--workspace", str(folder), *flags])
        capsys.readouterr()
        import_dataset.main()
        output = capsys.readouterr().out
        data = folder / "create_dataset"
        return SimpleNamespace(
            output=output,
            figures=json.loads(output.splitlines()[-1]),
            sft=read_rows(data / "sft_dataset_llm.csv", scored=False, remedy="", unique=True),
            orpo=read_rows(data / "orpo_dataset_llm.csv", scored=True, remedy="", unique=True),
        )

    return importing
