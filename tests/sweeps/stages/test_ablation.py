"""The ablation: its jobs, rows worked out by hand, and a small one through real lanes."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import ARMS
from sweeps.report.arms_table import ablation_rows, ablation_table, write_ablation
from sweeps.stages.ablation import ablation_jobs, run_ablation

CONFIG = parse_config(
    SweepConfig,
    {
        "name": "x",
        "countries": ["South Africa", "Mexico"],
        "global_model": {"name": "m"},
        "tau": 0.6,
        "beta": 2.0,
        "final": {"seeds": [9]},
    },
    "test",
)


def make_record(
    country: str,
    arm: str,
    seed: int,
    correct: list[int],
    *,
    part: str = "validation",
    trained: float | None = 40.0,
    state: str = "complete",
) -> TrialRecord:
    """Users with 10 pairs each; a layer of 4 distinctive and 6 consensus pairs a user."""
    users = [f"{country}-{number}" for number in range(len(correct))]
    total = 10 * len(users)
    block = {"low": None, "high": None, "users": len(users), "ties": 0}
    overall = {"accuracy": sum(correct) / total, "pairs": total, **block}
    layer = {"accuracy": sum(correct) / total, **block}
    counts = {"users": users, "pairs": [10] * len(users), "correct": correct}
    evaluation = {
        "part": part,
        "overall": overall,
        "distinctive": {**layer, "pairs": 4 * len(users)},
        "consensus": {**layer, "pairs": 6 * len(users)},
        "global_overall": overall,
        "length": overall,
        "by_user": counts,
        "global_by_user": counts,
    }
    return TrialRecord.model_validate(
        {
            "trial_id": f"{country}-{arm}-{seed}",
            "purpose": "curve",
            "country": country,
            "arm": arm,
            "state": state,
            "config": {},
            "config_hash": "0",
            "seed": seed,
            "evaluation": evaluation if state == "complete" else None,
            "counts": {} if trained is None else {"pairs_trained": trained},
            "error": None if state == "complete" else "ValueError: too few",
        }
    )


RECORDS = [
    make_record("Mexico", "global", 0, [5, 5], trained=0.0),
    make_record("Mexico", "full", 0, [6, 6]),
    make_record("Mexico", "full", 1, [8, 6]),
    make_record("Mexico", "scpo", 0, [7, 7], trained=20.0),
    make_record("Mexico", "scpo", 1, [9, 9], trained=20.0),
    make_record("Mexico", "filter", 0, [0, 0], state="failed"),
    make_record("Chile", "full", 0, [5]),
    make_record("Chile", "full", 1, [7]),
    make_record("Chile", "scpo", 0, [8], trained=10.0),
]


def test_every_arm_has_the_same_seeds_and_the_test_users_are_spared() -> None:
    jobs = ablation_jobs(CONFIG, seeds=(3, 4))
    assert len(jobs) == len({job.trial_id for job in jobs}) == 2 * (7 * 2 + 2)
    assert {job.part for job in jobs} == {"validation"}
    for arm in ARMS:
        mine = [job for job in jobs if job.arm == arm and job.country == "Mexico"]
        assert [job.seed for job in mine] == ([3] if arm in ("global", "length") else [3, 4])
    assert {(job.tau, job.beta, job.budget) for job in jobs} == {(0.6, 2.0, 1.0)}
    assert {job.learning_rate for job in jobs} == {CONFIG.training.learning_rate}


def test_test_users_judge_only_when_asked_and_under_other_names() -> None:
    on_test = ablation_jobs(CONFIG, arms=("full",), part="test")
    on_validation = ablation_jobs(CONFIG, arms=("full",))
    assert {job.part for job in on_test} == {"test"}
    assert not {j.trial_id for j in on_test} & {j.trial_id for j in on_validation}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("full", "best")}, r"arms must be some of global, full, .* but got \['full',"),
        ({"arms": ("full", "full")}, "arms must be some of"),
        ({"arms": ()}, "arms must be some of"),
        ({"seeds": ()}, r"seeds must be given, differ and be 0 or more, but got \[\]"),
        ({"seeds": (1, 1)}, r"seeds must be given, differ .*, but got \[1, 1\]"),
        ({"seeds": (-1,)}, r"seeds must be given, differ .*, but got \[-1\]"),
        ({"part": "train"}, "part must be validation or test, but got 'train'"),
    ],
)
def test_what_cannot_be_asked(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ablation_jobs(CONFIG, **changes)


def row_of(country: str, arm: str):
    [row] = [
        row
        for row in ablation_rows(RECORDS, "validation")
        if (row.country, row.arm) == (country, arm)
    ]
    return row


def test_seeds_are_averaged_and_their_spread_stands_beside() -> None:
    row = row_of("Mexico", "full")  # 60 and 70 % by seed
    assert row.accuracy.value == pytest.approx(0.65)
    assert (*row.by_seed, row.num_seeds) == (0.6, 0.7, 2)
    assert row.seed_deviation == pytest.approx(0.1 / 2**0.5)
    assert (row.accuracy.low, row.accuracy.high) == (0.6, 0.7)  # users have 14 and 12 right of 20
    assert (row.against, row.pairs, row.users, row.pairs_trained) == ({}, 20, 2, 40.0)
    assert (row.distinctive_pairs, row.consensus_pairs) == (8, 12)
    assert row.distinctive.value == row.consensus.value == pytest.approx(0.65)


def test_differences_to_full_are_paired() -> None:
    row = row_of("Mexico", "scpo")  # users 8, 8 on average against 7, 6
    difference = row.difference("full")
    assert difference.value == pytest.approx(0.15)
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.2))


def test_arms_without_training_have_no_spread() -> None:
    row = row_of("Mexico", "global")
    assert (row.accuracy.value, row.seed_deviation, row.num_seeds) == (0.5, None, 1)
    assert row.pairs_trained == 0.0


def test_pooled_rows_join_countries_and_their_common_seeds() -> None:
    full, scpo = row_of("pooled", "full"), row_of("pooled", "scpo")
    assert full.accuracy.value == pytest.approx((13 + 6) / 30)
    assert full.by_seed == pytest.approx((17 / 30, 21 / 30))
    assert (full.num_countries, full.pairs, full.users, full.pairs_trained) == (2, 30, 3, 80.0)
    assert (scpo.num_seeds, scpo.seed_deviation) == (1, None)  # Chile has seed 0 only
    assert scpo.difference("full").value == pytest.approx((1 + 2 + 2) / 30)
    assert row_of("pooled", "global").num_countries == 1


def test_rows_come_pooled_first_then_by_country_and_arm_without_failed_ones() -> None:
    order = [(row.country, row.arm) for row in ablation_rows(RECORDS, "validation")]
    assert order == [
        ("pooled", "global"),
        ("pooled", "full"),
        ("pooled", "scpo"),
        ("Mexico", "global"),
        ("Mexico", "full"),
        ("Mexico", "scpo"),
        ("Chile", "full"),
        ("Chile", "scpo"),
    ]
    alone = [record for record in RECORDS if record.country == "Chile"]
    assert [row.country for row in ablation_rows(alone, "validation")] == ["Chile", "Chile"]
    assert ablation_rows([], "validation") == []


def test_records_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="must be evaluated on test users"):
        ablation_rows(RECORDS, "test")
    other = make_record("Mexico", "scpo", 0, [7, 7, 7])
    with pytest.raises(ValueError, match="on the same pairs"):
        ablation_rows([RECORDS[1], other], "validation")


def test_csv_and_table(tmp_path: Path) -> None:
    rows = ablation_rows(RECORDS, "validation")
    write_ablation(rows, tmp_path / "ablation.csv")
    with (tmp_path / "ablation.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(rows)
    assert written[4]["seed_sd"] == "0.0707107"
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(ablation_table(rows, "validation"))
    text = capture.get()
    assert "Ablation, validation users" in text
    assert "sd 7.1, 60.0 to 70.0 (2 seeds)" in text
    assert "+15.0 (+10.0 to +20.0)" in text


@pytest.mark.slow
def test_a_whole_ablation_and_its_resumption(
    cluster: None, tiny_backbone: Path, tmp_path: Path
) -> None:
    synthetic = {"num_countries": 2, "users_per_country": 10, "interactions_per_user": 2}
    config = parse_config(
        SweepConfig,
        {
            "name": "tiny",
            "countries": ["Arvandia"],
            "data": {"source": "synthetic", "synthetic": synthetic},
            "global_model": {
                "backbone": str(tiny_backbone),
                "learning_rate": 1e-3,
                "max_pairs": 60,
            },
            "encoder": {"max_tokens": 96},
            "training": {"pairs_per_step": 16, "learning_rate": 1e-3},
            "lanes": {"num_lanes": 1},
            "cache": str(tmp_path / "cache"),
        },
        "test",
    )
    arms = ("global", "full", "scpo", "length")
    said: list[str] = []
    records = run_ablation(config, tmp_path / "run", said.append, arms=arms, seeds=(0, 1))
    assert {(r.arm, r.seed) for r in records} == {
        ("global", 0),
        ("length", 0),
        ("full", 0),
        ("full", 1),
        ("scpo", 0),
        ("scpo", 1),
    }
    assert {record.state for record in records} == {"complete"}
    by_arm = {record.arm: record.evaluation for record in records}
    assert by_arm["length"].overall == by_arm["full"].length
    assert by_arm["global"].overall == by_arm["full"].global_overall
    assert {evaluation.part for evaluation in by_arm.values()} == {"validation"}
    with pytest.raises(ValueError, match="holds a run already"):
        run_ablation(config, tmp_path / "run", said.append, arms=arms, seeds=(0, 1))
    again = run_ablation(
        config, tmp_path / "run", said.append, arms=arms, seeds=(0, 1), resume=True
    )
    assert again == records
    assert "ablation: 0 of 6 to do" in said
