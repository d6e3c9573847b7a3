"""`scpo repair`: what is sound stays, what is not is set aside, and nothing is deleted."""

import json

import pytest
from typer.testing import CliRunner

from scpo.__main__ import make_app
from scpo.files.atomic import MARKER, write_text
from scpo.models.reward_model import content_hash
from sweeps.ledger.end_file import END_NAME
from sweeps.ledger.records import LEDGER_NAME, Ledger, read_records
from sweeps.run.pins import check_pins, made_file, pin_file
from sweeps.run.repair import repair_run


def make_run(run, trial):
    ledger = Ledger(run)
    ledger.append(trial("t0", [3, 4], 16.0))
    model = run / "models" / "Chile"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(64))
    final = trial("f0", [3, 4], 16.0).model_copy(
        update={
            "purpose": "final",
            "model_path": "elsewhere/models/Chile",
            "model_hash": content_hash(model),
        }
    )
    ledger.append(final)
    write_text(run / "split.json", json.dumps({"u1": "train"}))
    pin_file(run, "split", run / "split.json")


def test_a_sound_run_stays_as_it_is(tmp_path, trial):
    make_run(tmp_path, trial)
    before = (tmp_path / LEDGER_NAME).read_bytes()
    assert {part.name: part.state for part in repair_run(tmp_path)} == {
        LEDGER_NAME: "sound",
        "split.json": "sound",
        "models/Chile": "sound",
    }
    assert (tmp_path / LEDGER_NAME).read_bytes() == before
    assert not (tmp_path / "set-aside").exists()


def test_damage_is_set_aside_and_told(tmp_path, trial):
    make_run(tmp_path, trial)
    ledger = tmp_path / LEDGER_NAME
    damaged = ledger.read_bytes().replace(b'"seed": 0', b'"seed": 7', 1)
    ledger.write_bytes(damaged)
    weights = tmp_path / "models" / "Chile" / "model.safetensors"
    weights.write_bytes(bytes(63) + b"x")
    states = {part.name: part.state for part in repair_run(tmp_path)}
    assert states == {LEDGER_NAME: "repaired", "split.json": "sound", "models/Chile": "repaired"}
    assert [record.trial_id for record in read_records(tmp_path)] == ["f0"]
    assert (tmp_path / "set-aside" / LEDGER_NAME).read_bytes() == damaged
    assert (tmp_path / "set-aside" / "Chile" / weights.name).read_bytes() == bytes(63) + b"x"
    assert not weights.exists()
    again = repair_run(tmp_path)
    assert [part.state for part in again if part.name == LEDGER_NAME] == ["sound"]


def test_a_damaged_file_that_is_made_again_is_set_aside(tmp_path, trial):
    make_run(tmp_path, trial)
    file = tmp_path / "models.json"
    with made_file(tmp_path, "names of models", file):
        file.write_text("{}")
    assert [p.state for p in repair_run(tmp_path) if p.name == file.name] == ["sound"]
    file.write_text("{!")
    assert [p.state for p in repair_run(tmp_path) if p.name == file.name] == ["repaired"]
    assert (tmp_path / "set-aside" / file.name).read_text() == "{!"
    check_pins(tmp_path)
    assert [p.state for p in repair_run(tmp_path) if p.name == file.name] == ["repaired"]


def test_a_damaged_marker_is_set_aside(tmp_path, trial):
    make_run(tmp_path, trial)
    (tmp_path / MARKER).write_text('{"kind": "ru')
    assert [p.state for p in repair_run(tmp_path) if p.name == MARKER] == ["repaired"]
    assert (tmp_path / "set-aside" / MARKER).read_text() == '{"kind": "ru'
    assert not (tmp_path / MARKER).exists()


def test_a_file_of_another_tool_is_left_alone(tmp_path):
    for content in (b'{"trial": 1}\n', b"no json\n"):
        (tmp_path / LEDGER_NAME).write_bytes(content)
        with pytest.raises(ValueError, match="holds no record of a sweep"):
            repair_run(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [LEDGER_NAME]
        assert (tmp_path / LEDGER_NAME).read_bytes() == content


def test_what_cannot_be_made_again_is_named_with_exit_code_1(tmp_path, trial):
    make_run(tmp_path, trial)
    (tmp_path / "split.json").write_text('{"u1": "test"}')
    result = CliRunner().invoke(make_app(), ["repair", str(tmp_path)])
    assert result.exit_code == 1
    assert "damaged  split.json: The split has other bytes" in result.output
    assert "Restore split.json, or start a new run" in result.output


def test_line_ends_of_windows_cost_no_record(tmp_path, trial):
    make_run(tmp_path, trial)
    ledger = tmp_path / LEDGER_NAME
    before = ledger.read_bytes()
    ledger.write_bytes(before.replace(b"\n", b"\r\n"))
    with pytest.raises(ValueError, match=r"jsonl:1: the line ends as on Windows.*scpo repair"):
        read_records(tmp_path)
    part = repair_run(tmp_path)[0]
    assert part.state == "repaired"
    assert "2 records kept, 0 lines set aside: trials.jsonl:1: the line ends as on" in part.word
    assert ledger.read_bytes() == before


def test_lines_lost_at_the_ledgers_end_are_told_and_no_longer_missed(tmp_path, trial):
    make_run(tmp_path, trial)
    ledger = tmp_path / LEDGER_NAME
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    part = repair_run(tmp_path)[0]
    assert part.state == "repaired"
    assert "ends after 1 lines, but 2 were written" in part.word
    assert [record.trial_id for record in read_records(tmp_path)] == ["t0"]


def test_a_damaged_end_of_the_ledger_is_written_again(tmp_path, trial):
    make_run(tmp_path, trial)
    (tmp_path / END_NAME).write_text("{")
    assert repair_run(tmp_path)[0].name == END_NAME
    assert len(read_records(tmp_path)) == 2
    assert repair_run(tmp_path)[0].name == LEDGER_NAME


def test_a_run_without_pins_is_told(tmp_path, trial):
    make_run(tmp_path, trial)
    (tmp_path / "run.json").unlink()
    parts = {part.name: part for part in repair_run(tmp_path)}
    assert "pins nothing" in parts["run.json"].word
