"""The end of a ledger, beside it: what is lost there is missed, and a kill in between is not."""

import pytest

from sweeps.ledger.end_file import END_NAME, LedgerEnd, read_end, write_end
from sweeps.ledger.records import LEDGER_NAME, Ledger, read_records


@pytest.fixture
def folder(tmp_path, trial):
    """A ledger of four lines."""
    ledger = Ledger(tmp_path)
    for number in range(4):
        ledger.append(trial(f"t{number}", [3, 4], 16.0 + number))
    return tmp_path


def lines_of(folder):
    return (folder / LEDGER_NAME).read_bytes().splitlines(keepends=True)


def test_it_tells_of_the_last_line(folder):
    end = read_end(folder)
    assert end.lines == 4
    assert lines_of(folder)[-1].endswith(f'"chain": "{end.link}"}}\n'.encode())


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_lines_lost_at_the_end_are_missed(folder, kept):
    (folder / LEDGER_NAME).write_bytes(b"".join(lines_of(folder)[:kept]))
    for open_it in (read_records, Ledger):
        with pytest.raises(ValueError, match=rf"ends after {kept} lines, but 4 were written"):
            open_it(folder)


def test_a_missing_ledger_is_missed(folder):
    (folder / LEDGER_NAME).unlink()
    with pytest.raises(ValueError, match="ends after 0 lines, but 4 were written"):
        Ledger(folder)


def test_the_ledger_of_another_run_is_named(folder, trial):
    other = Ledger(folder / "other")
    for number in range(5):
        other.append(trial(f"t{number}", [3, 4], 16.0))
    (folder / LEDGER_NAME).write_bytes(other.path.read_bytes())
    with pytest.raises(ValueError, match=rf"{LEDGER_NAME} is of run {other.run}, and {END_NAME}"):
        read_records(folder)


def test_other_lines_of_the_same_run_are_named(folder):
    write_end(folder, LedgerEnd(read_end(folder).run, 3, "0" * 16))
    with pytest.raises(ValueError, match="other lines than"):
        read_records(folder)


def test_a_kill_before_it_is_written_leaves_a_sound_ledger(folder, trial):
    before = (folder / END_NAME).read_bytes()
    Ledger(folder).append(trial("t4", [3, 4], 30.0))
    (folder / END_NAME).write_bytes(before)
    assert len(read_records(folder)) == 5
    Ledger(folder).append(trial("t5", [3, 4], 31.0))
    assert read_end(folder).lines == 6


def test_a_damaged_one_is_named(folder):
    (folder / END_NAME).write_text(
        (folder / END_NAME).read_text().replace('"lines": 4', '"lines": 3')
    )
    with pytest.raises(ValueError, match=rf"{END_NAME} has other bytes"):
        read_records(folder)


def test_without_one_the_chain_alone_counts(folder):
    (folder / END_NAME).unlink()
    assert read_end(folder) is None
    assert len(read_records(folder)) == 4


def test_an_end_that_a_power_cut_left_empty_says_nothing(tmp_path):
    write_end(tmp_path, LedgerEnd("a", 1, "b"))
    (tmp_path / END_NAME).write_bytes(b"")
    assert read_end(tmp_path) is None
