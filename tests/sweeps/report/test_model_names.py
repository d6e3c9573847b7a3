"""Which model is a country's: its own or the global one."""

import json
from pathlib import Path

from sweeps.ledger.records import TrialRecord
from sweeps.ranking.ranking import rank_records
from sweeps.report.model_names import write_model_names


def test_models_and_the_kept_global_model_are_named(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    write_model_names(rank_records(records), tmp_path)
    named = json.loads((tmp_path / "models.json").read_text())
    assert {country: each["model"] for country, each in named.items()} == {
        "Chile": "models/chile",
        "Mexico": "global",
        "South Africa": "models/south-africa",
    }
    assert {each["answer"] for each in named.values()} == {"accuracy"}
    assert named["Mexico"]["answers"]["accuracy"] == "keep the global model"
    assert set(named["Chile"]["answers"]) == {"accuracy", "thrift", "balance"}
