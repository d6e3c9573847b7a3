"""A sweep whose driver is killed twenty times ends where one that nobody disturbed ends.

Small forms, an interruption and a kill with the loss of the node, are in `test_whole_sweep`.
"""

import random
import time
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.ledger.records import TrialRecord, read_records
from sweeps.ranking.ranking import rank_country
from tests.forked import Forked, start_scpo

COUNTRIES = ("Arvandia", "Belmora")
NUM_TRIALS = 40
NUM_KILLS = 20


def write_config(folder: Path, backbone: Path, sampler: str, cache: str, **search: object) -> Path:
    """One lane: which trials a proposal knows does not hang on which lane was faster."""
    config = {
        "name": "killed",
        "countries": list(COUNTRIES),
        "data": {
            "source": "synthetic",
            "synthetic": {"num_countries": 3, "users_per_country": 12, "interactions_per_user": 2},
        },
        "global_model": {"backbone": str(backbone), "learning_rate": 1e-3, "max_pairs": 200},
        "encoder": {"max_tokens": 96},
        "training": {"pairs_per_step": 8, "learning_rate": 1e-3},
        "search": {
            "num_trials": NUM_TRIALS,
            "folds": 1,
            "sampler": sampler,
            "learning_rate": [1e-4, 1e-2],
            "epochs": [2.0, 4.0],
            **search,
        },
        "lanes": {"num_lanes": 1},
        "curves": {"arms": [], "budgets": [1.0]},
        "final": {"arms": []},
        "cache": cache,
    }
    path = folder / f"{sampler}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Path, run: "Path | str") -> Forked:
    return start_scpo("sweep", config, "--out", run, "--resume", err=config.with_suffix(".err"))


def count_lines(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def kill_at_random(driver: Forked, ledger: Path, moment: random.Random) -> bool:
    """Kill a driver at some moment of its life, before or while it trains; False if it ended."""
    at_start = moment.random() < 0.3
    known = count_lines(ledger)
    while not at_start and count_lines(ledger) == known and not driver.ended():
        time.sleep(0.01)
    time.sleep(moment.uniform(0.0, 8.0) if at_start else moment.expovariate(1.0))
    if driver.ended():
        return False
    driver.kill()
    return True


def search_of(run: Path) -> dict[str, TrialRecord]:
    records = [record for record in read_records(run) if record.purpose == "search"]
    by_id = {record.trial_id: record for record in records}
    assert len(by_id) == len(records)  # none twice
    return by_id


def study_states(run: Path) -> list[str]:
    storage = JournalStorage(JournalFileBackend(str(run / "optuna.journal")))
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [
        trial.state.name
        for study in studies
        for trial in study.trials
        if "refused" not in trial.user_attrs
    ]


def check_equal(disturbed: dict[str, TrialRecord], undisturbed: dict[str, TrialRecord]) -> None:
    assert set(disturbed) == set(undisturbed)
    for name, record in disturbed.items():
        assert record.config == undisturbed[name].config, name
        assert record.objectives == undisturbed[name].objectives, name
        assert record.state == undisturbed[name].state, name
    for country in COUNTRIES:
        fronts = [
            [setting.record.trial_id for setting in rank_country(list(found), country).settings]
            for found in (undisturbed.values(), disturbed.values())
        ]
        assert fronts[0] == fronts[1]


@pytest.mark.exhaustive
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_twenty_kills_lose_repeat_and_change_nothing(
    tmp_path: Path, tiny_backbone: Path, sampler: str
) -> None:
    config = write_config(tmp_path, tiny_backbone, sampler, str(tmp_path / "cache"))
    quiet, run = tmp_path / "quiet", tmp_path / "run"
    assert start(config, quiet).wait(timeout=600) == 0
    moment = random.Random(0)
    ledger = run / "trials.jsonl"
    kills, kept = 0, b""
    while kills < NUM_KILLS and kill_at_random(start(config, run), ledger, moment):
        kills += 1
        whole = ledger.read_bytes() if ledger.exists() else b""
        assert whole.startswith(kept)  # what was finished stays
        kept = whole[: whole.rfind(b"\n") + 1]
    assert kills == NUM_KILLS, f"the sweep ended after {kills} kills: give it more trials"
    assert start(config, run).wait(timeout=600) == 0
    undisturbed, disturbed = search_of(quiet), search_of(run)
    assert len(disturbed) == NUM_TRIALS * len(COUNTRIES)
    check_equal(disturbed, undisturbed)
    assert study_states(run).count("RUNNING") == 0  # no ghost
    assert len(study_states(run)) == len(disturbed)
