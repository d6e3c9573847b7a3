"""Plans: selections and tokens worked out by hand, hours, and a whole plan of made-up data."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scpo.config import parse_config
from scpo.countries.country_data import CountryData
from scpo.data.pairs import Pairs
from scpo.models.loading import load_reward_model
from scpo.tokens.encoding import TokenizedTexts
from sweeps.config import LanesConfig, SweepConfig
from sweeps.cost.selections import (
    SweepPlan,
    histogram_bars,
    run_plan,
    selection_rows,
    selection_table,
    weight_histogram,
    work_table,
    write_plan,
)
from sweeps.cost.work import (
    Rate,
    final_and_curve_jobs,
    job_tokens,
    lanes_here,
    mean_of_logarithmic,
    rate_of_records,
    search_tokens,
    work_rows,
)
from sweeps.jobs.job import Job
from sweeps.ledger.records import Ledger, TrialRecord
from tests.saved_model import save_reward_model

LENGTHS = np.array([10, 20, 30, 40, 50, 60, 70, 80])
RATE = Rate(train_tokens_per_s=10.0, judge_tokens_per_s=100.0, source="by hand")


def make_country(reference: list[float]) -> CountryData:
    """Four interactions of a pair each: three to train on, one to validate and test by."""
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    texts = TokenizedTexts(
        np.zeros(offsets[-1], np.int32),
        np.zeros(offsets[-1], np.int8),
        offsets,
        np.zeros(8, dtype=bool),
    )
    pairs = Pairs(np.array([0, 2, 4, 6, 6]), np.array([1, 3, 5, 7, 7]), np.array([0, 1, 2, 3, 4]))
    return CountryData(
        country="Chile",
        texts=texts,
        pairs=pairs,
        user=np.array(["a", "b", "c", "d", "e"]),
        part=np.array(["train", "train", "train", "validation", "test"]),
        reference=np.array(reference, dtype=np.float64),
        response_chars=np.ones(8, dtype=np.int64),
        num_identical=0,
        num_truncated=0,
        num_overlong=0,
        pair_ids=np.array(["1", "2", "3", "4", "5"]),
    )


COUNTRY = make_country([0.0, 1.1, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0])  # margins -1.1, 0, 2


def make_config(**changes: object) -> SweepConfig:
    given = {
        "name": "x",
        "countries": ["Chile"],
        "global_model": {"name": "m"},
        "search": {"num_trials": 5, "retention": [1.0, 1.0], "epochs": [2.0, 2.0]},
        "final": {"arms": ["full"]},
        "curves": {"arms": ["full"], "budgets": [1.0], "seeds": [0]},
        **changes,
    }
    return parse_config(SweepConfig, given, "test")


def test_selections_by_hand() -> None:
    rows = selection_rows(COUNTRY, taus=(0.7, 1.0), betas=(1.1, math.inf))
    assert [(row.tau, row.beta) for row in rows] == [
        (0.7, 1.1),
        (0.7, math.inf),
        (1.0, 1.1),
        (1.0, math.inf),
    ]
    first = rows[0]  # sigmoid(2) = 0.88 is over 0.7; weights exp(-1) and 1
    small = math.exp(-1)
    assert (first.country, first.pairs_available, first.pairs_kept) == ("Chile", 3, 2)
    assert first.retention == pytest.approx(2 / 3)
    assert first.effective_pairs == pytest.approx((1 + small) ** 2 / (1 + small**2))
    assert first.share_of_weight_1 == 0.5
    assert first.histogram == (0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    assert first.strength == pytest.approx(np.std([-1.1, 0, 2]) / 1.1)
    assert (rows[1].effective_pairs, rows[1].share_of_weight_1, rows[1].strength) == (2, 1, 0)
    assert [row.pairs_kept for row in rows] == [2, 2, 3, 3]


def test_a_filter_that_keeps_nothing_is_a_row_of_zeros() -> None:
    [row] = selection_rows(COUNTRY, taus=(0.01,), betas=(1.1,))
    assert (row.pairs_kept, row.effective_pairs, row.share_of_weight_1) == (0, 0.0, 0.0)
    assert histogram_bars(row.histogram) == " " * 10


def test_selections_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`beta > 0` must hold"):
        selection_rows(COUNTRY, betas=(-1.0,))
    with pytest.raises(ValueError, match="Reference margins that differ must be given"):
        selection_rows(make_country([0.0] * 8))


def test_histograms() -> None:
    assert weight_histogram(np.array([0.0, 0.05, 0.1, 0.95, 1.0])) == (2, 1, *(0,) * 7, 2)
    assert histogram_bars([0, 1, 4, 8, 0, 0, 0, 0, 0, 16]) == " ▁▂▄     █"


def test_tokens_of_a_job_by_hand() -> None:
    job = Job("t", "search", "Chile", "full", 1e-5, 2.0, seed=0, tau=0.7, beta=1.1)
    assert job_tokens(job, COUNTRY) == (2 * 210, 150)
    assert job_tokens(replace(job, arm="filter"), COUNTRY) == (2 * 100, 150)  # texts 0 to 3
    assert job_tokens(replace(job, purpose="final"), COUNTRY) == (420, 150)
    assert job_tokens(replace(job, arm="filter", tau=0.01), COUNTRY) == (0, 0)


def test_work_and_hours_by_hand() -> None:
    config = make_config()
    final, curves = final_and_curve_jobs(config, "Chile")
    assert [job.arm for job in final] == ["full", "scpo_tuned"]
    assert [job.part for job in (*final, *curves)] == ["test", "test", "validation"]
    rows = {row.kind: row for row in work_rows(config, {"Chile": COUNTRY}, RATE, 2)}
    assert list(rows) == ["search", "final", "curves", "total"]
    search = rows["search"]
    assert (search.trainings, search.train_tokens, search.judge_tokens) == (5, 2100, 750)
    assert search.device_h == pytest.approx((2100 / 10 + 750 / 100) / 3600)
    assert search.wall_h == pytest.approx(search.device_h / 2)
    assert rows["final"].train_tokens == 210 + 420
    assert (rows["curves"].trainings, rows["curves"].wall_h) == (1, rows["curves"].device_h)
    assert rows["total"].trainings == 8
    assert rows["total"].train_tokens == 2100 + 630 + 210


def test_a_final_is_trained_once_whatever_the_folds_of_the_search() -> None:
    search = {"num_trials": 1, "retention": [1.0, 1.0], "epochs": [2.0, 2.0], "folds": 2}
    kinds = {
        row.kind: (row.train_tokens, row.judge_tokens)
        for row in work_rows(make_config(search=search), {"Chile": COUNTRY}, RATE, 1)
    }
    assert kinds["final"] == (210 + 420, 2 * 150)
    assert kinds["search"] == (2 * (210 + 150), 210 + 150)  # a, b, c and d, each judged once


def test_retentions_of_a_search_are_averaged() -> None:
    wide = {"num_trials": 1, "retention": [0.2, 1.0], "epochs": [1.0, 1.0]}
    mean = search_tokens(make_config(search=wide), COUNTRY)
    # retentions 0.25 ... 0.95 keep 1, 1, 1, 2, 2, 2, 3, 3 of the pairs of 30, 70 and 110 tokens
    assert mean.tolist() == pytest.approx([(3 * 30 + 3 * 100 + 2 * 210) / 8, 150.0])


def test_rungs_cost_what_comes_so_far() -> None:
    laddered = {
        "num_trials": 1,
        "retention": [1.0, 1.0],
        "epochs": [1.0, 1.0],
        "rungs": [2, 50],
        "reduction": 2,
        "min_pairs": 1,
    }
    config = make_config(search=laddered)
    plain = make_config(search={**laddered, "rungs": []})
    train, judged = search_tokens(config, COUNTRY)
    assert search_tokens(plain, COUNTRY).tolist() == [210, 150]
    assert judged == 150 + 150 / 2
    assert train - 210 / 2 in (30 + 70, 30 + 110, 70 + 110)  # two of the three interactions


def test_mean_of_a_logarithmic_range() -> None:
    draws = np.exp(np.random.default_rng(0).uniform(math.log(0.5), math.log(2.0), 200_000))
    assert mean_of_logarithmic(0.5, 2.0) == pytest.approx(draws.mean(), rel=0.01)
    assert mean_of_logarithmic(1.5, 1.5) == 1.5


def make_record(**changes: object) -> TrialRecord:
    given = {
        "trial_id": "t",
        "purpose": "search",
        "country": "Chile",
        "arm": "scpo_tuned",
        "state": "complete",
        "config": {
            "retention": 1.0,
            "strength": 0.0,
            "learning_rate": 1e-5,
            "epochs": 2.0,
            "tau": None,
            "beta": None,
            "budget": 1.0,
        },
        "config_hash": "0",
        "seed": 0,
        "times": {"train_s": 4.0, "evaluate_s": 0.5},
        **changes,
    }
    return TrialRecord.model_validate(given)


def test_the_rate_of_a_ledger_by_hand() -> None:
    filtered = make_record(
        arm="filter",
        config={"tau": 0.7, "beta": 1.1, "learning_rate": 1e-5, "epochs": 1.0},
        times={"train_s": 1.0, "evaluate_s": 0.5},
    )
    skipped = [
        make_record(country="Peru"),
        make_record(state="failed", times={}),
        make_record(arm="global", times={}),
    ]
    rate = rate_of_records([make_record(), filtered, *skipped], {"Chile": COUNTRY})
    assert rate is not None
    assert rate.train_tokens_per_s == pytest.approx((420 + 100) / 5)
    assert rate.judge_tokens_per_s == pytest.approx(300 / 1.0)
    assert "measured over 2 trainings" in rate.source
    assert rate_of_records(skipped, {"Chile": COUNTRY}) is None
    sharded = rate_of_records([make_record(devices=2)], {"Chile": COUNTRY})  # of each of the two
    assert sharded is not None
    assert sharded.train_tokens_per_s == pytest.approx(420 / (2 * 4.0))
    assert sharded.judge_tokens_per_s == pytest.approx(150 / (2 * 0.5))


def test_lanes_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert lanes_here(LanesConfig(cpus=3)) == 2
    assert lanes_here(LanesConfig(cpus=2, workers=2)) == 2
    assert lanes_here(LanesConfig(cpus=1, num_lanes=5)) == 5
    assert lanes_here(LanesConfig(cpus=4, num_lanes=5)) == 2
    with pytest.raises(RuntimeError, match=r"A lane needs 16 CPUs and 0 GPUs, but this machine"):
        lanes_here(LanesConfig(cpus=16))


def test_tables_and_csv(tmp_path: Path) -> None:
    selections = selection_rows(COUNTRY, taus=(0.7,), betas=(1.1, math.inf))
    plan = SweepPlan(
        selections, work_rows(make_config(), {"Chile": COUNTRY}, RATE, 2), RATE, 2, []
    )
    write_plan(plan, tmp_path)
    with (tmp_path / "plan.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["beta"], second["beta"]) == ("1.1", "")
    assert (first["pairs_kept"], first["weights_to_0.4"], first["weights_to_1"]) == ("2", "1", "1")
    with (tmp_path / "plan_work.csv").open(newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)][-1] == "total"
    console = Console(file=io.StringIO(), width=160)
    with console.capture() as capture:
        console.print(selection_table(plan))
        console.print(work_table(plan))
    text = capture.get()
    assert "2 of 3 (67 %)" in text
    assert "|   █     █|" in text
    assert "2,940" in text
    assert "Work, 2 at a time" in text
    assert "by hand" in text


@pytest.fixture
def tiny_config(tiny_backbone: Path, tmp_path: Path) -> SweepConfig:
    model = save_reward_model(load_reward_model(str(tiny_backbone), new_head=True), tmp_path / "m")
    synthetic = {"num_countries": 2, "users_per_country": 8, "interactions_per_user": 2}
    return make_config(
        countries=["Arvandia", "Belmora"],
        data={"source": "synthetic", "synthetic": synthetic},
        global_model={"name": str(model)},
        encoder={"max_tokens": 96},
        cache=str(tmp_path / "cache"),
    )


def test_a_whole_plan_times_the_model_or_reads_a_ledger(
    tiny_config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.cost.work.TIMING_S", 0.05)
    said: list[str] = []
    plan = run_plan(tiny_config, tmp_path / "run", said.append, num_lanes=3)
    assert {row.country for row in plan.selections} == {"Arvandia", "Belmora"}
    assert (plan.num_lanes, len(plan.selections)) == (3, 2 * 4 * 4)
    assert plan.rate.judge_tokens_per_s == pytest.approx(3 * plan.rate.train_tokens_per_s)
    assert "Not a measured training" in plan.rate.source
    assert any("scored" in line for line in said)
    assert (tmp_path / "run" / "plan.csv").is_file()

    Ledger(tmp_path / "old").append(make_record(country="Arvandia"))
    measured = run_plan(tiny_config, tmp_path / "run", said.append, ledger=tmp_path / "old")
    assert "measured over 1 training" in measured.rate.source

    Ledger(tmp_path / "other").append(make_record(country="Peru"))
    run_plan(tiny_config, tmp_path / "run", said.append, ledger=tmp_path / "other")
    assert any("has no training of these countries" in line for line in said)


def test_a_plan_trains_no_global_model(tmp_path: Path) -> None:
    config = make_config(global_model={"backbone": "m"})
    with pytest.raises(RuntimeError, match=r"holds no trained model and a plan trains none"):
        run_plan(config, tmp_path, print)


def test_a_plan_needs_the_ledger_it_is_given(tiny_config: SweepConfig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No ledger at"):
        run_plan(tiny_config, tmp_path / "run", print, ledger=tmp_path / "none")
