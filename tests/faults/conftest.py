"""Fixtures of fault injection: the table's rows, and a finished run to damage."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.finished_run import make_finished_run
from tests.faults.table import PAGE_VARIABLE, Row, show_rows, write_page

_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Adds a row to the table of faults, and fails where a fault was not survived."""

    def add(
        kind: str,
        times: int,
        bad: list[str],
        *,
        lost: str = "nothing",
        noticed_s: float | None = None,
        says: str = "",
    ) -> None:
        row = Row(kind, times, times - len(bad), lost, noticed_s, says)
        pytestconfig.stash.setdefault(_ROWS, []).append(row)
        assert bad == [], f"{len(bad)} of {times}: {bad[:3]}"

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and write it, where `make faults` asks for it."""
    rows = terminalreporter.config.stash.get(_ROWS, [])
    page = os.environ.get(PAGE_VARIABLE)
    if rows and page:
        terminalreporter.section("faults: times, survived, lost, noticed")
        show_rows(rows, terminalreporter.write)
        write_page(rows, Path(page))


@pytest.fixture(scope="session")
def finished_run(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished run; do not write to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield make_finished_run(tmp_path_factory.mktemp("faults"), tiny_backbone)


@pytest.fixture(scope="session")
def other_run(finished_run: Path, tiny_backbone: Path) -> Path:
    """The folder of another finished run, with other people and texts; do not write to it."""
    return make_finished_run(finished_run.parent / "other", tiny_backbone, seed=1)
