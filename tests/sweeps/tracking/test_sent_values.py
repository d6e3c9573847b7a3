"""What is sent of a record and of a configuration, and what never is."""

from pathlib import Path

import pytest

from sweeps.ledger.records import TrialRecord
from sweeps.tracking.sent_values import fingerprint, sent_sweep, sent_trial


def test_a_training_has_its_setting_accuracies_with_ends_and_counts(
    records: list[TrialRecord],
) -> None:
    record = records[0]
    sent = sent_trial(record, 7)
    assert record.evaluation is not None
    overall = record.evaluation.overall
    assert sent.settings["retention"] == 0.3
    assert sent.settings["arm"] == "scpo_tuned"
    assert "beta" not in sent.settings  # none: no weighting
    assert sent.metrics["validation_accuracy"] == overall.accuracy
    assert sent.metrics["validation/overall_low"] == overall.low
    assert sent.metrics["validation/overall_high"] == overall.high
    assert sent.metrics["validation/overall_users"] == 5
    assert sent.metrics["validation/length"] == record.evaluation.length.accuracy
    assert sent.metrics["constraints/consensus_drop"] == -0.03
    assert sent.metrics["feasible"] == 1.0
    assert sent.metrics["counts/pairs_available"] == 240.0
    assert sent.metrics["times/train_s"] == 31.5
    assert sent.started_ms == 1777887000000  # 2026-05-04T09:30:00Z
    assert (sent.number, sent.wall_s) == (7, 42.0)
    user = record.evaluation.by_user.users[0]
    assert user not in str(sent)  # nothing of single users


def test_a_failure_has_its_error_in_one_line_without_secrets(records: list[TrialRecord]) -> None:
    error = "OSError: s3://AKIAABCDEFGHIJKLMNOP:xyz@bucket\nrefused hf_abcdefghijklmnopqrstuv"
    record = records[-1].model_copy(update={"error": error})
    sent = sent_trial(record, 0)
    assert sent.tags["error"] == "OSError: s3://***@bucket refused ***"
    assert sent.state == "failed"
    assert "feasible" not in sent.metrics


def test_a_configuration_is_flat_and_has_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "name: demo\ncountries: [Chile, Mexico]\ndata: {path: 'https://me:pw12@host/x'}\n"
        "api_token: abc\nsplit: {seed: 3, folds: null}\n"
    )
    sweep = sent_sweep("0a1b2c3d", tmp_path)
    assert sweep.name == "demo"
    assert sweep.settings == {
        "name": "demo",
        "countries": "['Chile', 'Mexico']",
        "data.path": "https://***@host/x",
        "api_token": "***",
        "split.seed": 3,
    }


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Is .* the folder of a sweep"):
        sent_sweep("0a1b2c3d", tmp_path)
    (tmp_path / "config.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match="must hold keys and values"):
        sent_sweep("0a1b2c3d", tmp_path)


def test_a_hash_tells_records_apart(records: list[TrialRecord]) -> None:
    assert len({fingerprint(record) for record in records}) == len(records)
    again = TrialRecord.model_validate_json(records[0].model_dump_json())
    assert fingerprint(again) == fingerprint(records[0])
