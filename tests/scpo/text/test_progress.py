"""Progress of long works: a line every five seconds, none of short ones."""

import pytest

from scpo.text import progress
from scpo.text.progress import ProgressLines, format_seconds
from scpo.text.terminal import console


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_it_tells_the_share_and_the_rest_every_five_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work = ProgressLines("reading rows.jsonl", 1000)
    for clock[0] in (1.0, 5.0, 7.0, 10.0, 20.0):
        work.add(200)
    assert capsys.readouterr().err.splitlines() == [
        "scpo: reading rows.jsonl: 40 %, about 8 s left",
        "scpo: reading rows.jsonl: 80 %, about 2 s left",
    ]


def test_it_says_nothing_where_only_errors_are_wanted(
    clock: list[float], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "quiet", True)
    work = ProgressLines("x", 10)
    clock[0] = 6.0
    work.add(5)
    assert capsys.readouterr().err == ""


def test_the_rest_is_estimated_once_a_hundredth_is_done(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    work = ProgressLines("x", 10_000)
    for clock[0], done in ((6.0, 1), (12.0, 299)):
        work.add(done)
    assert capsys.readouterr().err.splitlines() == [
        "scpo: x: 0 %",
        "scpo: x: 3 %, about 6 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (14.4, "14 s"),
        (59.6, "1 min"),
        (720, "12 min"),
        (3599, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words
