"""`scpo opinions` from a CSV file and model folders to what it writes."""

import csv
import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.global_opinions import read_global_opinions
from scpo.models.loading import load_reward_model
from scpo.opinions.answers import METRICS
from scpo.opinions.judge_models import OpinionSettings, run_opinions
from scpo.opinions.model_answers import score_options
from scpo.opinions.opinion_tables import countries_table, overall_table
from scpo.statistics.bootstrap import Interval

SETTINGS = OpinionSettings(max_tokens=32, min_questions=3)


def write_survey(path):
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["question", "selections", "options", "source"])
        for number in range(12):
            options = ["a b", "c", "d e f"][: 2 + number % 2]
            shares = {
                name: rng.dirichlet(np.ones(len(options))).tolist()
                for name in ("Chile", "S. Korea", "Mali")
            }
            printed = f"defaultdict(<class 'list'>, {shares})"
            writer.writerow([f"{'abcdefgh'[number % 8]} {number} ?", printed, str(options), "G"])
        writer.writerow(["a ?", "defaultdict(<class 'list'>, {'Chile': []})", "['a', 'b']", "G"])
        writer.writerow(["b ?", "__import__('os').getcwd()", "['a', 'b']", "G"])
    return path


@pytest.fixture(scope="module")
def judged(tmp_path_factory, model_writer):
    folder = tmp_path_factory.mktemp("opinions")
    survey = write_survey(folder / "survey.csv")
    names = {"global": "g", "Chile/scpo": "c", "South Korea/scpo": "k"}
    for seed, name in enumerate(names.values()):
        model_writer(folder / name, "bert", seed=seed)
    models = {label: str(folder / name) for label, name in names.items()}
    said = []
    records = run_opinions(models, survey, folder / "out", SETTINGS, say=said.append)
    return folder, records, said


def test_what_was_dropped_is_counted_and_kept(judged):
    folder, _, said = judged
    made = json.loads((folder / "out" / "opinions.json").read_text())
    assert made["rows_read"] == 14
    assert made["rejected"] == {"invalid_literal": 1, "shares_do_not_fit": 1}
    lines = (folder / "out" / "quarantine.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["reason"] for line in lines) == sorted(made["rejected"])
    assert said[0] == "24 answers of 2 countries to 12 questions"
    assert made["settings"]["countries"] == ["Chile", "South Korea"]


def test_every_score_is_that_of_scipy_on_the_model_s_own_choices(judged):
    folder, records, _ = judged
    survey = read_global_opinions(folder / "survey.csv", BadRows("quarantine"))
    reward = load_reward_model(str(folder / "c"))
    rewards = score_options(reward, survey, max_tokens=32)
    expected = defaultdict(list)
    for row, item in zip(rewards, survey, strict=True):
        chosen = softmax(row[: len(item.options)])
        for country in ("Chile", "South Korea"):
            expected[country].append(1 - jensenshannon(chosen, item.shares[country], 2.0))
    found = {r.country: r.figures for r in records if r.row == "Chile/scpo" and r.country}
    for country, values in expected.items():
        assert found[country]["similarity_base2"].value == pytest.approx(np.mean(values), abs=1e-9)
    # equal weights: each country answered every question, so both ways to average agree
    both = [r.figures["similarity_base2"].value for r in records if r.row == "Chile/scpo"]
    assert both[0] == pytest.approx(both[1], abs=1e-12)
    assert both[0] == pytest.approx(np.mean([*expected.values()]), abs=1e-9)


def test_rows_are_baselines_models_own_and_others(judged):
    folder, records, _ = judged
    rows = list(dict.fromkeys(record.row for record in records))
    baselines = ["uniform", "average", "average of others"]
    models = ["global", "Chile/scpo", "South Korea/scpo"]
    kin = ["kin-weighted others", "kin + global", "kin + own scpo"]
    assert rows == [*baselines, *models, "own scpo", "others scpo", *kin]
    by_place = {(r.row, r.country): r for r in records}
    for country, other in (("Chile", "South Korea"), ("South Korea", "Chile")):
        own = by_place["own scpo", country].figures
        assert own == by_place[f"{country}/scpo", country].figures
        others = by_place["others scpo", country].figures
        assert others == by_place[f"{other}/scpo", country].figures
    gap = by_place["own scpo", "Chile"].against_reference
    values = [by_place[row, "Chile"].figures["similarity_base2"].value for row in rows]
    assert gap.value == pytest.approx(values[rows.index("own scpo")] - values[3])
    table = pq.read_table(folder / "out" / "opinions.parquet").to_pylist()
    assert len(table) == len(rows) * 24
    mean = np.mean([r["total_variation"] for r in table if r["row"] == "global"])
    (overall,) = [r for r in records if r.row == "global" and r.over == "questions"]
    assert overall.figures["total_variation"].value == pytest.approx(mean, abs=1e-12)


def test_tables_hold_every_row(judged):
    _, records, _ = judged
    assert overall_table(records).row_count == 2 * 11
    assert countries_table(records).row_count == 2


def test_what_rounds_to_nothing_has_no_sign(judged):
    _, records, _ = judged
    tiny = Interval(-0.0001, -0.0006, 0.0004, 9)
    record = replace(records[0], against_reference=tiny, figures=dict.fromkeys(METRICS, tiny))
    cells = [str(next(iter(column.cells))) for column in overall_table([record]).columns]
    assert cells[2:6] == ["0.000 (-0.001 to 0.000)"] * 4
    by_country = countries_table([replace(record, over="country", country="Chile")])
    assert [str(cell) for cell in by_country.columns[2].cells] == ["0.000"]


def test_a_fitted_temperature_is_told(judged, tmp_path):
    folder, _, _ = judged
    settings = OpinionSettings(temperature=None, max_tokens=32)
    models = {"Chile": str(folder / "c")}
    run_opinions(models, folder / "survey.csv", tmp_path, settings, say=lambda line: None)
    made = json.loads((tmp_path / "opinions.json").read_text())
    assert list(made["models"]["Chile"]["temperature"]) == ["Chile"]
    assert made["models"]["Chile"]["temperature"]["Chile"] != 1.0


def test_what_is_not_there_is_named(judged, tmp_path):
    folder, _, _ = judged
    with pytest.raises(FileNotFoundError, match="No model folder at"):
        run_opinions({"Chile": "./none"}, folder / "survey.csv", tmp_path, SETTINGS)
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        run_opinions({}, tmp_path / "none.csv", tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="shares must hold, one an option, got 0"):
        run_opinions({}, folder / "survey.csv", tmp_path, SETTINGS, on_bad_rows="stop")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="`temperature` must be finite and above 0, but got"):
        OpinionSettings(temperature=temperature)
