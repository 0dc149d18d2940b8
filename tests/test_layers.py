"""Imports run one way: hardware and boards know nothing of compiler, host and simulation."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path):
    """Top-level packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ["hw", "boards"])
def test_knows_nothing_of_software(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    assert {str(path): sorted({"sim", "sw", "tests"} & set(imported(path))) for path in files} == {
        str(path): [] for path in files}
