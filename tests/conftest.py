"""Fixtures of more than one folder."""

import pytest

from hw import figures


@pytest.fixture
def figures_file(tmp_path, monkeypatch):
    """An empty file of boards' figures in the place of the real one."""
    path = tmp_path / "figures.json"
    for function in (figures.recorded, figures.record):
        monkeypatch.setattr(function, "__defaults__", (path,))
    return path
