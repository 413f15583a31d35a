"""What a user installs: the wheel, its dependencies, and the files about the project that must agree."""

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fine_tuning.exporting.plan import GGUF_PACKAGE
from fine_tuning.run.report_to import PACKAGES as DASHBOARDS

PACKAGES = ("diagram", "create_dataset", "fine_tuning", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {canonicalize_name(each.name): each.specifier for each in map(Requirement, PROJECT["dependencies"])}
OPTIONAL = {
    canonicalize_name(each.name): each.specifier
    for extra in PROJECT["optional-dependencies"].values()
    for each in map(Requirement, extra)
}
APACHE_2_0 = (
    "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # SHA-256 of apache.org's LICENSE-2.0.txt
)


def pins(file: str) -> dict[str, str]:
    """The versions that a requirements file pins, by package."""
    return dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / file).read_text(), re.MULTILINE))


def files_of(package: str) -> list[Path]:
    return [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def imports_of(path: Path) -> set[str]:
    """The packages that a file imports, inside its functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> dict[str, bytes]:
    """The files in a wheel built from this tree, by their paths in it."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    program = f"from setuptools.build_meta import build_wheel; build_wheel({str(output)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True, timeout=120)
    with ZipFile(next(output.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_module(wheel, package):
    modules = [path.relative_to(ROOT).as_posix() for path in files_of(package) if path.suffix == ".py"]
    assert modules and set(modules) <= wheel.keys()


def test_the_wheel_holds_the_csvs_the_embedded_model_and_the_page_byte_for_byte(wheel):
    data = [*files_of("fine_tuning/embedded_model"), *(ROOT / "create_dataset").glob("*_dataset_llm.csv")]
    data += files_of("fine_tuning/web/static")
    assert {path.name for path in data} >= {
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "README.md",
        "page.js",
    }
    for path in data:
        assert wheel[path.relative_to(ROOT).as_posix()] == path.read_bytes(), path


def test_the_wheel_holds_the_licence_and_no_tests(wheel):
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert not any(name.startswith("tests/") for name in wheel)


def test_every_range_allows_the_version_that_is_pinned():
    pinned = {canonicalize_name(name): version for name, version in pins("requirements.txt").items()}
    assert RANGES.keys() <= pinned.keys()
    assert {name: pinned[name] for name, allowed in RANGES.items() if pinned[name] not in allowed} == {}


def test_the_optional_packages_are_those_that_the_tests_use():
    pinned = {canonicalize_name(name): version for name, version in pins("requirements-dev.txt").items()}
    assert OPTIONAL and {name: pinned[name] for name, allowed in OPTIONAL.items() if pinned[name] not in allowed} == {}


def test_the_message_about_a_missing_package_names_the_version_of_the_extra():
    assert str(OPTIONAL["gguf"]) == GGUF_PACKAGE.removeprefix("gguf")
    assert DASHBOARDS["tensorboard"] == f"tensorboard=={pins('requirements-dev.txt')['tensorboard']}"


def test_every_package_that_the_code_imports_is_a_dependency():
    imported = {name for package in PACKAGES for path in files_of(package) if path.suffix == ".py"
                for name in imports_of(path)}  # fmt: skip
    distributions = packages_distributions()
    needed = {
        canonicalize_name(distributions.get(name, [name])[0])
        for name in imported - sys.stdlib_module_names - set(PACKAGES)
    }
    assert {"torch", "pillow"} <= needed
    assert needed <= RANGES.keys() | OPTIONAL.keys()


def test_the_licence_is_the_whole_text_of_apache_2_0_below_the_copyright():
    copyright_line, _, text = (ROOT / "LICENSE").read_bytes().partition(b"\n")
    assert re.fullmatch(rb"Copyright \d{4} the text-to-diagram contributors", copyright_line)
    assert hashlib.sha256(text).hexdigest() == APACHE_2_0
    assert PROJECT["license"] == "Apache-2.0"


def test_the_citation_and_the_changelog_name_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"\nlicense: {PROJECT['license']}\n" in citation
    assert f"\n## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_hooks_run_the_ruff_that_is_pinned():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert f"ruff-pre-commit\n    rev: v{pins('requirements-dev.txt')['ruff']} " in hooks
