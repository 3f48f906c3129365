"""What the documentation shows, runs: every example in a docstring, the README and the guide."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import ccpsolve
import flows

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    module.name
    for package in (ccpsolve, flows)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)
PAGES = ("README.md", "docs/quickstart.md")


@pytest.mark.parametrize("name", ["ccpsolve", "flows", *MODULES])
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(importlib.import_module(name), optionflags=options).failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_code_in_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert names["solution"].status is ccpsolve.Status.SOLVED
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.parametrize("name", ["complementarity", "integrator"])
def test_examples_in_pages(name):
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    page = ROOT / "docs" / f"{name}.md"
    found = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert found.attempted > 10
    assert found.failed == 0


def test_reference_names_every_public_name():
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    for package in (ccpsolve, flows, ccpsolve.dvi, flows.tasks, flows.figures):
        for name in set(package.__all__) - {"MODELS", "TASKS", "FIGURES"}:
            assert f"{package.__name__}.{name}\n" in pages, f"{package.__name__}.{name}"
