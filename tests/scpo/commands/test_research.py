"""Studies by name."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import sweeps.research.run_study
from scpo.__main__ import make_app
from scpo.commands.research import _STUDIES, _find_study
from scpo.config import load_config
from sweeps.api.configurations import CONFIGURATIONS
from sweeps.research.study.study_config import StudyConfig


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The configurations that a study was run with."""
    seen: list[Path] = []

    def run(file: Path, *_: Any, **__: Any) -> list[Any]:
        seen.append(file)
        return []

    monkeypatch.setattr(sweeps.research.run_study, "run_study", run)
    monkeypatch.chdir(tmp_path)
    return seen


def study(config: str) -> Result:
    return CliRunner().invoke(make_app(), ["study", config, "--out", "out"])


def test_a_study_of_the_package_is_found_by_its_name(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study("study").exit_code == 0
    assert files == [CONFIGURATIONS / "study.yaml"]
    monkeypatch.chdir(CONFIGURATIONS.parent)
    assert _find_study(Path("study")) == Path("configs", "study.yaml")


@pytest.mark.parametrize("name", _STUDIES)
def test_each_named_study_is_one(name: str) -> None:
    load_config(StudyConfig, CONFIGURATIONS / f"{name}.yaml")


def test_another_name_says_which_there_are(files: list[Path]) -> None:
    done = study("demo")
    assert isinstance(done.exception, FileNotFoundError)
    assert "No study 'demo'" in str(done.exception)
    assert str(done.exception).endswith("the package has study, study-whole.")
    Path("demo").touch()  # a file of that name is taken
    assert study("demo").exit_code == 0
    assert files == [Path("demo")]
