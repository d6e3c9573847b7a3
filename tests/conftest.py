"""Fixtures that every package's tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SCPO_DATA", default)).resolve()
    if not (folder / "prism" / "survey.jsonl").is_file():
        pytest.skip(f"no real data at {folder}; set SCPO_DATA to the folder that has it")
    return folder
