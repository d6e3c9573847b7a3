"""Fixtures of commands that are stopped."""

from pathlib import Path

import pytest

from tests.faults.stops.commands import Place


@pytest.fixture
def place(tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Place(tmp_path / "work", finished_run, monkeypatch)
