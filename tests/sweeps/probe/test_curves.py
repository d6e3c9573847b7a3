"""Curves of heads: the sweep's own subsets, heads against scipy, what is refused, a whole run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from scpo.config import parse_config
from scpo.countries.country_data import CountryData
from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_arm
from scpo.statistics.accuracy import counts_by_user
from sweeps.config import CurvesConfig, HeadsConfig, SweepConfig
from sweeps.curves.points import curve_points
from sweeps.jobs.job_inputs import labelled_pairs
from sweeps.jobs.planned_jobs import curve_jobs
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.probe import curves
from sweeps.probe.curves import curve_records, run_probe_curves, write_ledger
from sweeps.run.workspace import Workspace

CURVES = CurvesConfig(arms=("full", "scpo"), budgets=(0.3, 1.0), seeds=(0, 1))
HEADS = HeadsConfig(l2=(0.1,), steps=400, inner_folds=2, tau=0.6, beta=0.8)


@pytest.fixture(scope="module")
def data(workspace: Workspace) -> CountryData:
    """The country, its rewards spread as a trained model's are."""
    country = workspace.countries["Arvandia"]
    reference = country.reference - country.reference.mean()
    return replace(country, reference=reference / reference.std())


def probed(data: CountryData, part: str) -> ProbedPairs:
    """Made-up features: a part of the reference margin is in them, and of the choice."""
    which = data.pairs_in(part)
    rng = np.random.default_rng(len(which))
    margin = data.reference_margin[which]
    x = rng.normal(size=(len(which), 4)) + np.array([0.6, 0.3, 0.0, 0.0])
    x = np.column_stack([x, margin]).astype(np.float32)
    return ProbedPairs(x, margin, margin, data.user[which])


@pytest.fixture(scope="module")
def records(data: CountryData) -> list[TrialRecord]:
    return curve_records(data, probed(data, "train"), probed(data, "validation"), CURVES, HEADS)


def find(records: list[TrialRecord], arm: str, budget: float, seed: int) -> TrialRecord:
    wanted = (arm, budget, seed)
    return next(r for r in records if (r.arm, r.config["budget"], r.seed) == wanted)


def fit_head(pairs: ProbedPairs, data: CountryData, arm: str, seed: int) -> np.ndarray:
    """Minimise the loss of one head by L-BFGS in float64."""
    chosen = select_arm(arm, pairs.reference_margin, tau=HEADS.tau, beta=HEADS.beta, seed=seed)
    x = pairs.differences.astype(np.float64)
    share = chosen.weights / chosen.keep.sum()
    pull = HEADS.l2[0] * np.square(x).sum() / (4 * len(x))

    def loss(moved: np.ndarray) -> tuple[float, np.ndarray]:
        margin = pairs.offset + x @ moved
        value = -share @ log_expit(margin) + 0.5 * pull * moved @ moved
        return float(value), pull * moved - (share * expit(-margin)) @ x

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", tol=1e-12).x


@pytest.mark.parametrize("arm", ["full", "scpo"])
@pytest.mark.parametrize("budget", [0.3, 1.0])
def test_a_head_is_trained_on_the_pairs_of_its_budget(
    data: CountryData, records: list[TrialRecord], arm: str, budget: float
) -> None:
    labelled = labelled_pairs(data, budget, seed=1)
    train, validation = probed(data, "train"), probed(data, "validation")
    places = np.flatnonzero(np.isin(data.pairs_in("train"), labelled))
    moved = fit_head(train.take(places), data, arm, seed=1)
    margin = validation.offset + validation.differences.astype(np.float64) @ moved
    expected = counts_by_user(margin, data.user[data.pairs_in("validation")])
    evaluation = find(records, arm, budget, 1).evaluation
    assert evaluation is not None
    assert evaluation.by_user.model_dump() == expected
    assert evaluation.part == "validation"


def test_every_arm_budget_and_seed_has_a_record_of_its_pairs(
    data: CountryData, records: list[TrialRecord]
) -> None:
    assert len(records) == 2 * 2 * 2 == len({record.trial_id for record in records})
    for record in records:
        labelled = labelled_pairs(data, float(record.config["budget"] or 0), record.seed)
        margin = data.reference_margin[labelled]
        kept = select_arm(record.arm, margin, tau=HEADS.tau).keep.sum()
        assert record.counts["pairs_labelled"] == len(labelled)
        assert record.counts["pairs_trained"] == kept
        assert (record.purpose, record.engine, record.config["l2"]) == ("curve", "heads", 0.1)
    first = [find(records, arm, 0.3, 0).counts["pairs_trained"] for arm in CURVES.arms]
    assert first[0] > first[1] > 0


def test_subsets_are_those_of_a_sweeps_own_curve(records: list[TrialRecord]) -> None:
    config = parse_config(
        SweepConfig,
        {
            "name": "x",
            "countries": ["Arvandia"],
            "global_model": {"name": "m"},
            "curves": CURVES.model_dump(),
        },
        "test",
    )
    jobs = {(job.trial_id, job.arm, job.budget, job.seed) for job in curve_jobs(config)}
    assert jobs == {(r.trial_id, r.arm, r.config["budget"], r.seed) for r in records}


def test_a_pull_is_chosen_without_validation_users(data: CountryData) -> None:
    several = HEADS.model_copy(update={"l2": (0.001, 0.1, 10.0), "steps": 24})
    train, validation = probed(data, "train"), probed(data, "validation")
    turned = replace(validation, differences=-validation.differences, offset=-validation.offset)
    pulls = [
        [record.config["l2"] for record in curve_records(data, train, held, CURVES, several)]
        for held in (validation, turned)
    ]
    assert pulls[0] == pulls[1]


def test_an_arm_that_keeps_nothing_has_failed(data: CountryData) -> None:
    strict = HEADS.model_copy(update={"tau": 1e-9, "steps": 2})
    train, validation = probed(data, "train"), probed(data, "validation")
    found = curve_records(data, train, validation, CURVES, strict)
    failed = [record for record in found if record.state == "failed"]
    assert {record.arm for record in failed} == {"scpo"}
    assert all(record.evaluation is None for record in failed)
    num_labelled = len(labelled_pairs(data, 0.3, seed=0))
    assert failed[0].error == f"Arvandia: scpo keeps 0 of {num_labelled} pairs."
    assert {point.arm for point in curve_points(found)} == {"full"}


def test_a_budget_of_one_user_is_refused(data: CountryData) -> None:
    few = CURVES.model_copy(update={"budgets": (0.01, 1.0)})
    with pytest.raises(ValueError, match=r"pairs of two users, but 0\.01 of .* holds 5 of 1\."):
        curve_records(data, probed(data, "train"), probed(data, "validation"), few, HEADS)


def test_inner_folds_are_no_more_than_users(data: CountryData) -> None:
    many = HEADS.model_copy(update={"inner_folds": 50, "steps": 2})
    found = curve_records(data, probed(data, "train"), probed(data, "validation"), CURVES, many)
    assert {record.state for record in found} == {"complete"}


def test_vetted_users_alone_choose_the_pull(
    data: CountryData, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = np.unique(data.user)[::2]
    found = []

    def choose(pairs: ProbedPairs, *_: object, judges: np.ndarray, **__: object) -> dict:
        found.append((pairs.user, judges))
        return {}

    monkeypatch.setattr(curves, "choose_heads", choose)
    marked = replace(data, vetted=np.isin(data.user, able))
    one = CURVES.model_copy(update={"budgets": (1.0,), "seeds": (0,)})
    curve_records(marked, probed(data, "train"), probed(data, "validation"), one, HEADS)
    ((trained, judges),) = found
    assert judges.tolist() == able.tolist()
    assert set(trained) == set(data.user[data.pairs_in("train")])


def test_a_ledger_is_replaced_as_a_whole(tmp_path: Path, records: list[TrialRecord]) -> None:
    write_ledger(records, tmp_path / "probe_curves")
    write_ledger(records[:3], tmp_path / "probe_curves")
    assert read_records(tmp_path / "probe_curves") == records[:3]


@pytest.mark.parametrize(
    ("curves", "found"),
    [
        ({"arms": []}, r"arms=\[\], seeds=\[0\]"),
        ({"budgets": [0.5]}, r"budgets=\[0\.5\]"),
        ({"seeds": []}, r"seeds=\[\]"),
    ],
)
def test_what_makes_no_curve_is_refused_before_anything_is_read(
    tmp_path: Path, curves: dict[str, object], found: str
) -> None:
    config = make_config("nowhere", tmp_path, curves)
    with pytest.raises(ValueError, match=rf"an arm, a seed and two budgets, but .*{found}"):
        run_probe_curves(config, tmp_path, print)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_run_and_its_second(tiny_backbone: Path, tmp_path: Path) -> None:
    config = make_config(
        str(tiny_backbone), tmp_path / "cache", {"budgets": [0.5, 1.0], "seeds": [0, 1]}
    )
    said: list[str] = []
    folder = run_probe_curves(config, tmp_path / "run", said.append)
    assert folder == tmp_path / "run" / "probe_curves"
    first = read_records(folder)
    assert len(first) == 2 * 3 * 2 * 2
    assert not (tmp_path / "run" / "trials.jsonl").exists()
    assert said.count("  Arvandia: 12 heads") == 1
    points = curve_points(first)
    assert {point.country for point in points} == {"pooled", "Arvandia", "Belmora"}
    said.clear()
    again = read_records(run_probe_curves(config, tmp_path / "run", said.append))
    assert sum("features of 0 texts computed" in line for line in said) == 2
    assert [record.evaluation for record in again] == [record.evaluation for record in first]


def make_config(backbone: str, cache: Path, curves: dict[str, object]) -> SweepConfig:
    small = {"num_countries": 3, "users_per_country": 10, "interactions_per_user": 2}
    return parse_config(
        SweepConfig,
        {
            "name": "tiny",
            "countries": ["Arvandia", "Belmora"],
            "data": {"source": "synthetic", "synthetic": small},
            "global_model": {"backbone": backbone, "learning_rate": 1e-3, "max_pairs": 60},
            "encoder": {"max_tokens": 96},
            "training": {"pairs_per_step": 16, "precision": "fp32"},
            "tau": 0.9,
            "curves": curves,
            "cache": str(cache),
        },
        "test",
    )
