"""Imports run one way: fine_tuning, create_dataset, diagram."""

import subprocess
import sys


def test_diagram_and_create_dataset_import_no_torch():
    program = """
import importlib, pkgutil, sys
import create_dataset, diagram
names = [m.name for p in (diagram, create_dataset) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), sorted({"torch", "transformers", "pandas", "fine_tuning"} & sys.modules.keys()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    count, found = run.stdout.split(" ", 1)
    assert int(count) >= 10 and found.strip() == "[]"
