"""What a run was begun with: other content at the same place is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.records import LEDGER_NAME
from sweeps.run.pins import (
    RUN_FILE,
    check_pins,
    compare_pin,
    made_file,
    pin,
    pin_file,
    pin_rewards,
    read_run_file,
    update_run_file,
)
from sweeps.run.run_folder import keep_config, keep_folds, kept_folds, open_run

RAW = {"name": "x", "countries": ["A", "B"], "global_model": {"name": "m"}}


def config_with(**changes: object) -> SweepConfig:
    return parse_config(SweepConfig, {**RAW, **changes}, "test")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has begun, with three pinned files."""
    run = tmp_path / "run"
    open_run(config_with(), run, resume=False)
    (run / "data").mkdir()
    (run / "data" / "interactions.parquet").write_bytes(b"rows" * 30)
    (run / "split.json").write_text('{"u1": "train"}')
    pin_file(run, "interactions", run / "data" / "interactions.parquet")
    pin_file(run, "split", run / "split.json")
    return run


@pytest.mark.parametrize(
    "name", ["data/interactions.parquet", "split.json", "config.yaml", RUN_FILE]
)
def test_a_flipped_bit_of_each_artefact_is_found_at_every_start_and_by_readers(
    run: Path, name: str
) -> None:
    check_pins(run)
    sound = (run / name).read_bytes()
    for position in range(0, len(sound), 7):
        content = bytearray(sound)
        content[position] ^= 1 << position % 7
        (run / name).write_bytes(content)
        with pytest.raises(ValueError, match=Path(name).name):
            check_pins(run)
        with pytest.raises(ValueError, match=Path(name).name):
            open_run(config_with(), run, resume=True)
    (run / name).write_bytes(sound)
    open_run(config_with(), run, resume=True)


def test_other_data_split_model_and_rewards_are_named(run: Path, tmp_path: Path) -> None:
    pin(run, "global model", "abc")
    pin(run, "global model", "abc")
    with pytest.raises(ValueError, match=r"The global model of .* was abc, and is abd"):
        pin(run, "global model", "abd")
    compare_pin(run, "what an earlier version did not pin", 1)
    assert "what an earlier version did not pin" not in read_run_file(run)["pins"]
    rewards = np.linspace(-2, 2, 50)
    pin_rewards(run, "A", rewards)
    pin_rewards(run, "A", rewards + 1e-3)  # of another device
    with pytest.raises(ValueError, match="reference rewards of A"):
        pin_rewards(run, "A", -rewards)
    with pytest.raises(ValueError, match="reference rewards of A"):
        pin_rewards(run, "A", rewards[:49])
    elsewhere = tmp_path / "elsewhere.parquet"
    elsewhere.write_bytes(b"rows" * 30)
    pin_file(run, "interactions", elsewhere)  # the same content, moved
    elsewhere.write_bytes(b"sowr" * 30)
    with pytest.raises(ValueError, match="The interactions"):
        pin_file(run, "interactions", elsewhere)


def test_a_moved_run_is_checked_where_it_lies_and_what_is_absent_is_let_pass(
    run: Path, tmp_path: Path
) -> None:
    moved = run.rename(tmp_path / "moved")
    check_pins(moved)
    (moved / "data" / "interactions.parquet").unlink()
    check_pins(moved)


def test_runs_of_other_versions(run: Path) -> None:
    (run / RUN_FILE).write_text(json.dumps({"name": "x", "versions": {"scpo": "0.1.0"}}))
    check_pins(run)
    open_run(config_with(), run, resume=True)
    update_run_file(run, {"format": 1})
    (run / RUN_FILE).write_text(json.dumps({"format": 7, "versions": {"scpo": "9.0"}}))
    with pytest.raises(ValueError, match=r"is of format 7.*\(9\.0\)"):
        check_pins(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"lanes": {"num_lanes": 3, "cpus": 2}},
        {"country_lanes": {"A": {"cpus": 2}}},
        {"final": {"lanes": {"cpus": 2}}},
        {"curves": {"lanes": {"workers": 2}}},
        {"cache": "elsewhere"},
        {"search": {"num_trials": 50, "max_wall_s": 9, "target_accuracy": 0.9}},
        {"report_to": ["mlflow"]},
        {"search": {"max_device_hours": 2}},
        {"training": {"checkpoint_every": 7}},
        {"final": {"which": "thrift"}},
    ],
)
def test_what_changes_no_result_may_differ_on_resume(
    run: Path, changes: dict[str, object]
) -> None:
    open_run(config_with(**changes), run, resume=True)
    open_run(config_with(**changes), run, resume=True)
    check_pins(run)
    open_run(config_with(), run, resume=True)


def test_a_file_that_is_made_again_is_pinned_as_it_was_written_last(run: Path) -> None:
    file = run / "models.json"
    for text in ("first", "second"):
        with made_file(run, "names of models", file):
            file.write_text(text)
        check_pins(run)
    file.write_text("secont")
    with pytest.raises(ValueError, match=r"models\.json\) have other bytes .*scpo repair"):
        check_pins(run)
    file.unlink()
    check_pins(run)


def test_a_file_whose_making_was_killed_is_let_pass(run: Path) -> None:
    file = run / "models.json"
    with made_file(run, "names of models", file):
        file.write_text("first")
    with pytest.raises(OSError, match="disk"), made_file(run, "names of models", file):
        raise write_and_fail(file)
    check_pins(run)


def write_and_fail(file: Path) -> OSError:
    file.write_text("second")
    return OSError("the disk is full")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tau": 0.6}, r"\(tau: 0\.7 there, 0\.6 here\)"),
        ({"search": {"sampler": "random"}}, "search.sampler: tpe there, random here"),
        ({"search": {"num_trials": 9, "folds": 2}}, r"\(search\.folds: None there, 2 here\)"),
        ({"countries": ["A"]}, "countries: "),
        ({"training": {"lora": {"rank": 4}}}, "training.lora.rank: None there, 4 here"),
        ({"global_model": {"name": "n"}}, "global_model.name: m there, n here"),
        ({"data": {"path": "d"}}, "data.path: None there, d here"),
        ({"split": {"seed": 3}}, "split.seed"),
        ({"final": {"seeds": [1, 2]}}, "final.seeds"),
    ],
)
def test_what_changes_results_is_named(run: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=rf"differs from the configuration given .*{words}"):
        open_run(config_with(**changes), run, resume=True)


def test_folds_that_the_data_chose_are_kept_on_resume(run: Path) -> None:
    config = kept_folds(config_with(), run)
    assert config.search.folds is None
    assert keep_folds(config, run, 3).search.folds == 3
    again = kept_folds(config_with(search={"num_trials": 9}), run)
    assert again.search.folds == 3
    open_run(again, run, resume=True)
    assert kept_folds(config_with(), run).search.folds == 3
    with pytest.raises(ValueError, match=r"search\.folds: 3 there, 1 here"):
        open_run(config_with(search={"folds": 1}), run, resume=True)


def test_records_without_a_configuration_are_refused(run: Path) -> None:
    (run / "config.yaml").unlink()
    (run / LEDGER_NAME).write_text("{}\n")
    with pytest.raises(ValueError, match=r"holds records but no config\.yaml"):
        keep_config(config_with(), run)
    assert not (run / "config.yaml").exists()


def test_a_configuration_that_cannot_be_read_names_the_version_that_wrote_it(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    for name in ("config.yaml", RUN_FILE):
        (run / name).unlink()
    update_run_file(run, {"versions": {"scpo": "0.0.1"}})
    (run / "config.yaml").write_text(text + "colour: red\n")
    with pytest.raises(ValueError, match=r"unknown key 'colour'.*the run that 0\.0\.1 wrote"):
        open_run(config_with(), run, resume=True)
