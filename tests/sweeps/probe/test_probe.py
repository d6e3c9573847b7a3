"""The probe: selections as a training's, fronts and points, and a whole probe of made-up data."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from scpo.config import parse_config
from scpo.heads.linear_heads import JudgedHeads, ProbedPairs
from scpo.method.arms import select_setting
from scpo.method.weighting import effective_pairs
from sweeps.config import SearchConfig, SweepConfig
from sweeps.probe.head_settings import HeadSettings, draw_settings
from sweeps.probe.probe import (
    ProbeResult,
    describe_probe,
    front_settings,
    probe_pair_sets,
    probe_points,
    run_probe,
)
from sweeps.probe.table import probe_table, write_probe
from sweeps.search.space import clip_to_space

CONFIG = parse_config(
    SweepConfig,
    {
        "name": "x",
        "countries": ["Chile"],
        "global_model": {"name": "m"},
        "training": {"learning_rate": 3e-5, "epochs": 1.5},
        "search": {"learning_rate": [1e-5, 1e-4], "epochs": [0.5, 2.0], "retention": [0.3, 1.0]},
    },
    "test",
)
SETTINGS = draw_settings(
    64, retention=(0.2, 1.0), strength=(0.0, 3.0), l2=(1e-3, 1.0), steps=(2, 12), seed=0
)

USER = np.repeat(["a", "b", "c", "d", "e"], 5)  # of the validation pairs


def make_probed(num_pairs: int, seed: int) -> ProbedPairs:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_pairs, 5)).astype(np.float32)
    x *= np.sign(x @ np.array([1.0, -0.5, 0.2, 0.0, 1.0]) + rng.logistic(size=num_pairs))[:, None]
    margin = x @ np.array([1.0, 0.0, 0.2, 0.0, 0.0])
    return ProbedPairs(x, margin, margin, np.arange(len(margin)))


def run_pair_sets(**changes: float) -> ProbeResult:
    search = SearchConfig.model_validate({"max_consensus_drop": 0.5, **changes})
    validation = replace(make_probed(25, 1), user=USER)
    return probe_pair_sets("Chile", make_probed(60, 0), validation, SETTINGS, search)


def result_of(accuracy, pairs, *, loss=None, feasible=None, retention=None) -> ProbeResult:
    """A result whose front is worked out beforehand by `on_front`."""
    accuracy, pairs = np.array(accuracy), np.array(pairs)
    size = len(pairs)
    judged = JudgedHeads(
        accuracy, np.full(size, np.nan), np.zeros(size), np.array(loss or [0.5] * size)
    )
    settings = HeadSettings(
        np.array(retention or pairs / 100),
        np.arange(size) / 10,
        np.zeros(size),
        np.full(size, 0.1),
        np.full(size, 4),
    )
    return ProbeResult(
        country="Chile",
        settings=settings,
        pairs_trained=pairs,
        effective_pairs=pairs / 2,
        judged=judged,
        feasible=np.ones(size, dtype=bool),
        chosen=0,
        on_front=np.array([True] * size if feasible is None else feasible),
        global_accuracy=0.6,
        reference_margin=np.linspace(-1, 1, 100),
        num_validation=20,
        num_users=3,
        num_skipped=0,
    )


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=150)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_rule_of_the_search_chooses_among_heads() -> None:
    cautious = run_pair_sets(caution=np.inf)
    settings = cautious.settings
    assert cautious.chosen is not None
    assert settings.retention[cautious.chosen] == 1.0
    assert settings.strength[cautious.chosen] == 0.0
    assert "plain fine-tuning; " in describe_probe(cautious)
    bold = run_pair_sets(caution=0.0)
    assert bold.judged.accuracy[bold.chosen] >= cautious.judged.accuracy[cautious.chosen]
    kept = replace(cautious, chosen=None)
    assert "keep the global model; " in describe_probe(kept)


def test_a_setting_that_weighs_users_is_not_plain() -> None:
    ones = np.ones(2)
    settings = HeadSettings(ones, 0 * ones, np.array([2.0, 0.0]), 0.1 * ones, np.array([8, 8]))
    train = replace(make_probed(60, 0), user=np.arange(60) % 12)
    validation = replace(make_probed(25, 1), user=USER)
    search = SearchConfig(max_consensus_drop=1.0, caution=np.inf)
    base = probe_pair_sets("Chile", train, validation, settings, search)
    assert base.judged.accuracy[0] >= base.judged.accuracy[1]  # it would be the base
    assert base.chosen == 1
    weighed = probe_pair_sets("Chile", train, validation, settings.take(np.array([0])), search)
    assert weighed.chosen is None
    said = describe_probe(replace(weighed, chosen=0))
    assert "Chile: 1 head; 100 % of the pairs at strength 0, user strength 2; " in said


def test_counts_constraint_and_front_of_a_country() -> None:
    result = run_pair_sets()
    selections = SETTINGS.select(make_probed(60, 0).by_margin())
    assert result.pairs_trained.tolist() == [each.keep.sum() for each in selections]
    assert result.effective_pairs[7] == effective_pairs(selections[7].weights)
    assert result.num_users == 5
    # whatever is not shown to lose more than half is feasible, more than by the point alone
    assert np.all(result.feasible[result.judged.consensus_drop <= 0.5])
    assert result.chosen is not None
    assert result.global_accuracy == np.mean(make_probed(25, 1).reference_margin > 0)
    accuracy, pairs = result.judged.accuracy, result.pairs_trained
    allowed = result.feasible & (accuracy > result.global_accuracy)
    assert 0 < result.on_front.sum() < allowed.sum() < 64
    for number in range(64):  # by the definition of a front
        beaten = any(
            allowed[other]
            and accuracy[other] >= accuracy[number]
            and pairs[other] <= pairs[number]
            and (accuracy[other] > accuracy[number] or pairs[other] < pairs[number])
            for other in range(64)
        )
        assert result.on_front[number] == (allowed[number] and not beaten)


def test_settings_that_keep_too_little_never_start() -> None:
    all_of_them, some = run_pair_sets(), run_pair_sets(min_pairs=30)
    assert some.num_skipped == 64 - len(some.settings) > 0
    assert some.pairs_trained.min() >= 30
    assert len(run_pair_sets(min_effective_pairs=20.0).settings) < len(all_of_them.settings)
    assert run_pair_sets(min_effective_pairs=20.0).effective_pairs.min() >= 20.0
    message = r"Chile: 61 pairs and 4 effective ones must be kept .* more than 60 and 60.0 of 60"
    with pytest.raises(ValueError, match=message):
        run_pair_sets(min_pairs=61)


def test_equal_points_of_a_front_are_one_the_one_of_least_loss() -> None:
    result = result_of([0.7, 0.8, 0.8, 0.5], [40, 60, 60, 20], loss=[0.6, 0.7, 0.4, 0.9])
    assert front_settings(result, num_points=4).tolist() == [2, 0, 3]


def test_points_are_spread_over_the_front_and_keep_both_ends() -> None:
    result = result_of(np.linspace(0.5, 0.8, 11), np.arange(40, 95, 5))
    assert front_settings(result, num_points=3).tolist() == [10, 5, 0]
    assert front_settings(result, num_points=1).tolist() == [10]


def test_points_take_learning_rate_and_epochs_from_the_configuration() -> None:
    result = result_of([0.8, 0.6], [90, 10], retention=[0.9, 0.1])
    points = probe_points(result, CONFIG)
    assert points == [
        {"retention": 0.9, "strength": 0.0, "learning_rate": 3e-5, "epochs": 1.5},
        {"retention": 0.3, "strength": 0.1, "learning_rate": 3e-5, "epochs": 1.5},
    ]
    assert all(point == clip_to_space(point, CONFIG.search) for point in points)


def test_points_that_the_space_makes_equal_are_one() -> None:
    result = result_of([0.8, 0.6], [20, 10], retention=[0.2, 0.1])
    result = replace(result, settings=replace(result.settings, strength=np.zeros(2)))
    assert len(probe_points(result, CONFIG)) == 1


def test_an_empty_front_has_no_points_and_says_so() -> None:
    result = result_of([0.8], [90], feasible=[False])
    assert probe_points(result, CONFIG) == []
    assert "none keeps the constraint" in describe_probe(result)
    assert "none beats the global model" in printed(probe_table([result]))


def test_csv_and_table(tmp_path: Path) -> None:
    result = result_of([0.8, 0.6], [90, 40])
    write_probe([result], tmp_path / "probe.csv")
    with (tmp_path / "probe.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = "country,retention,tau,strength,beta,user_strength,l2,steps,pairs_trained"
    assert ",".join(rows[0]) == (
        f"{columns},effective_pairs,accuracy,distinctive,consensus_drop,loss,feasible,on_front"
    )
    assert (rows[0]["pairs_trained"], rows[0]["accuracy"]) == ("90", "0.8")
    assert (rows[0]["beta"], rows[0]["distinctive"]) == ("", "")  # strength 0; no such pairs
    selection = select_setting(np.linspace(-1, 1, 100), retention=0.4, strength=0.1)
    assert float(rows[1]["beta"]) == pytest.approx(selection.beta, rel=1e-5)
    assert float(rows[1]["tau"]) == pytest.approx(selection.tau, rel=1e-5)
    text = printed(probe_table([result]))
    assert "90 (90 %, tau" in text
    assert "80.0 %" in text
    assert text.count("(beta ") == 1  # the other has no weighting
    assert "2 keep the constraint, 2 on the front, best 80.0 % (global 60.0 %)" in (
        describe_probe(result)
    )


def test_a_whole_probe_and_its_second_run(tiny_backbone: Path, tmp_path: Path) -> None:
    config = parse_config(
        SweepConfig,
        {
            "name": "tiny",
            "countries": ["Arvandia", "Belmora"],
            "data": {
                "source": "synthetic",
                "synthetic": {
                    "num_countries": 3,
                    "users_per_country": 10,
                    "interactions_per_user": 2,
                },
            },
            "global_model": {
                "backbone": str(tiny_backbone),
                "learning_rate": 1e-3,
                "max_pairs": 60,
            },
            "encoder": {"max_tokens": 96},
            "training": {"pairs_per_step": 16, "precision": "fp32"},
            "cache": str(tmp_path / "cache"),
        },
        "test",
    )
    said: list[str] = []
    first = run_probe(config, tmp_path / "run", said.append, num_settings=50)
    assert [result.country for result in first] == ["Arvandia", "Belmora"]
    assert all(len(result.settings) + result.num_skipped == 50 for result in first)
    # All come from the pass that scored; of 10 users a country one is held out at least.
    counts = re.findall(r"features of 0 texts computed, (\d+) from the cache", "\n".join(said))
    assert [0 < int(count) <= 9 * 2 * 4 for count in counts] == [True, True]
    said.clear()
    again = run_probe(config, tmp_path / "run", said.append, num_settings=50)
    assert sum("features of 0 texts computed" in line for line in said) == 2
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.judged.accuracy, other.judged.accuracy)
        np.testing.assert_array_equal(one.on_front, other.on_front)
