"""The chain of a ledger: damage is told from lines that are missing, doubled, moved or foreign."""

import hashlib

import pytest

from sweeps.ledger.end_file import END_NAME
from sweeps.ledger.records import LEDGER_NAME, Ledger, encode_records, read_records
from sweeps.ledger.salvage import salvage_lines


@pytest.fixture
def lines(tmp_path, trial):
    """Five whole lines of one run's ledger."""
    ledger = Ledger(tmp_path)
    for number in range(5):
        ledger.append(trial(f"t{number}", [3, 4], 16.0 + number))
    return ledger.path.read_bytes().splitlines()


def write(folder, lines):
    (folder / END_NAME).unlink(missing_ok=True)  # the chain alone is what these tests are of
    (folder / LEDGER_NAME).write_bytes(b"".join(line + b"\n" for line in lines))


def test_a_line_ends_with_its_sum_its_run_and_its_link(lines):
    def digest(*parts):
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:16].encode()

    link = b""
    for line in lines:
        body, _, tail = line.partition(b', "sum": "')
        body += b"}"
        run = tail[16 + 11 :][:8]
        link = digest(run, link, body)
        assert tail == digest(body) + b'", "run": "' + run + b'", "chain": "' + link + b'"}'


@pytest.mark.parametrize(
    ("order", "line", "word"),
    [
        ([0, 1, 3, 4], 3, "does not follow"),  # missing
        ([1, 2, 3, 4], 1, "does not follow"),  # the first is missing
        ([0, 1, 1, 2, 3, 4], 3, "does not follow"),  # doubled
        ([0, 2, 1, 3, 4], 2, "does not follow"),  # moved
    ],
)
def test_lines_that_are_missing_doubled_or_moved_are_named(tmp_path, lines, order, line, word):
    write(tmp_path, [lines[number] for number in order])
    with pytest.raises(ValueError, match=rf"{LEDGER_NAME}:{line}: .*{word}.*scpo repair"):
        read_records(tmp_path)
    with pytest.raises(ValueError, match=rf":{line}: "):
        Ledger(tmp_path)  # no record is added to it either


def test_a_whole_last_line_without_its_newline_is_refused_and_a_torn_one_moved(tmp_path, lines):
    write(tmp_path, lines)
    path = tmp_path / LEDGER_NAME
    flipped = path.read_bytes()[:-1] + b"\x0b"
    path.write_bytes(flipped)
    for open_it in (Ledger, read_records):
        with pytest.raises(ValueError, match=rf"{LEDGER_NAME}:5: .*other bytes"):
            open_it(tmp_path)
    assert path.read_bytes() == flipped
    path.write_bytes(flipped[:-9])  # as a kill in the middle of an append leaves it
    Ledger(tmp_path)
    assert [record.trial_id for record in read_records(tmp_path)] == [f"t{n}" for n in range(4)]


def test_a_line_of_another_run_is_named(tmp_path, lines, trial):
    foreign = encode_records([trial("t9", [3, 4], 16.0)]).splitlines()[0]
    write(tmp_path, [*lines[:2], foreign, *lines[2:]])
    with pytest.raises(ValueError, match=r":3: the line is of run \w{8}, and the ledger of"):
        read_records(tmp_path)


def test_a_ledger_of_an_earlier_version_is_gone_on_with(tmp_path, lines, trial):
    old = [line.partition(b', "sum"')[0] + b"}" for line in lines]
    write(tmp_path, old)
    Ledger(tmp_path).append(trial("t5", [3, 4], 30.0))
    assert [record.trial_id for record in read_records(tmp_path)] == [f"t{n}" for n in range(6)]
    written = (tmp_path / LEDGER_NAME).read_bytes().splitlines()
    write(tmp_path, [*old[1:], written[-1]])
    with pytest.raises(ValueError, match=r":5: .*does not follow"):
        read_records(tmp_path)
    write(tmp_path, [written[-1], old[0]])
    with pytest.raises(ValueError, match=r":1: "):
        read_records(tmp_path)


def test_salvage_keeps_each_sound_line_once(tmp_path, lines, trial):
    foreign = encode_records([trial("t9", [3, 4], 16.0)]).splitlines()[0]
    flipped = lines[3].replace(b'"seed"', b'"sead"')
    write(tmp_path, [lines[0], lines[2], foreign, flipped, lines[2], b"hello", lines[4]])
    found = salvage_lines(tmp_path / LEDGER_NAME)
    assert found.num_sound == 3
    assert found.fault is not None
    faults = [fault for _, fault in found.set_aside]
    assert [fault.split(": ")[0] for fault in faults] == [
        f"{LEDGER_NAME}:{number}" for number in (3, 4, 5, 6)
    ]
    assert "is of run" in faults[0]
    assert "other bytes" in faults[1]
    assert "twice" in faults[2]
    assert "Invalid JSON" in faults[3]
    (tmp_path / LEDGER_NAME).write_bytes(found.sound)
    assert [record.trial_id for record in read_records(tmp_path)] == ["t0", "t2", "t4"]
    assert salvage_lines(tmp_path / LEDGER_NAME).fault is None
