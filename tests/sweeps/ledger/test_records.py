import json

import pytest

from sweeps.ledger.end_file import END_NAME
from sweeps.ledger.records import LEDGER_NAME, Ledger, TrialRecord, read_records


def test_records_come_back_as_they_were_appended(tmp_path, records):
    ledger = Ledger(tmp_path / "new" / "run")
    for record in (records[0], records[-1]):
        ledger.append(record)
    assert ledger.read() == [records[0], records[-1]]
    assert read_records(tmp_path / "new" / "run") == ledger.read()
    assert read_records(ledger.path) == ledger.read()


def test_the_last_record_of_a_trial_stands_for_it(tmp_path, records):
    ledger = Ledger(tmp_path)
    failed = records[0].model_copy(update={"state": "failed", "error": "disk full"})
    for record in (failed, records[1], records[0]):
        ledger.append(record)
    assert ledger.read() == [records[0], records[1]]
    assert ledger.path.read_bytes().count(b"\n") == 3  # the attempt that failed stays on record


def test_a_new_ledger_is_empty(tmp_path):
    assert Ledger(tmp_path).read() == []


def test_names_outside_ascii_and_newlines_stay_on_one_line(tmp_path, records):
    ledger = Ledger(tmp_path)
    record = records[0].model_copy(update={"country": "Türkiye\n\u2028", "error": "a\nb"})
    ledger.append(record)
    assert ledger.path.read_bytes().count(b"\n") == 1
    assert ledger.read() == [record]


def test_a_torn_line_is_skipped_by_readers_and_moved_by_the_writer(tmp_path, records):
    ledger = Ledger(tmp_path)
    ledger.append(records[0])
    with ledger.path.open("ab") as handle:
        handle.write(b'{"trial_id": "to')
    assert read_records(tmp_path) == [records[0]]
    again = Ledger(tmp_path)
    again.append(records[1])
    assert again.read() == [records[0], records[1]]
    assert (tmp_path / "trials.torn").read_bytes() == b'{"trial_id": "to\n'


@pytest.mark.parametrize("is_begun_anew", [False, True])
def test_a_ledger_whose_folder_was_moved_is_not_written_into_another_run(
    tmp_path, records, is_begun_anew
):
    ledger = Ledger(tmp_path / "run")
    ledger.append(records[0])
    (tmp_path / "run").rename(tmp_path / "moved")
    if is_begun_anew:
        Ledger(tmp_path / "run").append(records[1])
    with pytest.raises(RuntimeError, match=r"run/trials\.jsonl was removed, moved or written by"):
        ledger.append(records[2])
    assert read_records(tmp_path / "moved") == [records[0]]
    if is_begun_anew:
        assert read_records(tmp_path / "run") == [records[1]]
    else:
        assert not (tmp_path / "run").exists()


def test_a_missing_ledger_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No ledger at .*trials\.jsonl"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"purpose": "play"}, "purpose: Input should be"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        ({"seed": "x"}, "seed: Input should be a valid integer"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(tmp_path, records, change, message):
    value = {**json.loads(records[1].model_dump_json()), **change}
    lines = [records[0].model_dump_json(), json.dumps(value)]  # of a version without checksums
    (tmp_path / LEDGER_NAME).write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(ValueError, match=rf"{LEDGER_NAME}:2: {message}"):
        read_records(tmp_path)


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / LEDGER_NAME).write_text("hello\n")
    with pytest.raises(ValueError, match=rf"{LEDGER_NAME}:1: the line: Invalid JSON"):
        read_records(tmp_path)


def test_nan_never_enters_the_ledger(tmp_path, records):
    ledger = Ledger(tmp_path)
    record = records[0].model_copy(update={"objectives": {"validation_accuracy": float("nan")}})
    with pytest.raises(ValueError, match="Out of range float values"):
        ledger.append(record)
    assert ledger.read() == []


def test_a_failed_record_needs_no_evaluation():
    record = TrialRecord(
        trial_id="a",
        purpose="search",
        country="Chile",
        arm="scpo_tuned",
        state="failed",
        config={},
        config_hash="0",
        seed=0,
        error="boom",
    )
    assert record.evaluation is None


def test_every_flipped_bit_of_a_line_is_found(tmp_path, trial):
    ledger = Ledger(tmp_path)
    for number in range(2):
        ledger.append(trial(f"t{number}", [3, 4], 16.0))
    sound = ledger.path.read_bytes()
    start = sound.index(b"\n") + 1
    found = 0
    for position in range(start, len(sound)):
        content = bytearray(sound)
        content[position] ^= 1 << position % 8
        ledger.path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{LEDGER_NAME}:2: "):
            read_records(tmp_path)
        found += 1
    assert found > 1000
    old = b"".join(line.partition(b', "sum"')[0] + b"}\n" for line in sound.splitlines())
    ledger.path.write_bytes(old)  # of an earlier version
    (tmp_path / END_NAME).unlink()
    assert [record.trial_id for record in read_records(tmp_path)] == ["t0", "t1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("accuracy", 7.5), ("accuracy", float("nan")), ("low", -0.1), ("pairs", -1)],
)
def test_figures_that_cannot_be_are_refused(tmp_path, trial, field, value):
    ledger = Ledger(tmp_path)
    line = json.loads(trial("t0", [3, 4], 16.0).model_dump_json())
    line["evaluation"]["overall"][field] = value
    ledger.path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=rf":1: evaluation\.overall\.{field}"):
        read_records(tmp_path)
    line["evaluation"] = None
    line["objectives"]["validation_accuracy"] = 1.5
    ledger.path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="validation_accuracy"):
        read_records(tmp_path)


def test_a_failure_never_replaces_a_result_and_two_settings_never_share_an_id(tmp_path, trial):
    ledger = Ledger(tmp_path)
    done = trial("t0", [3, 4], 16.0)
    ledger.append(done)
    ledger.append(trial("t0", [], 0.0, state="failed"))
    assert ledger.read() == [done]
    ledger.append(done.model_copy(update={"config_hash": "another"}))
    with pytest.raises(ValueError, match=r":3: trial t0 has another setting"):
        ledger.read()
