"""Heads that are tested beside the models of a sweep: once, on test users, in no other table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scpo.config import parse_config
from scpo.countries.country_data import CountryData
from scpo.statistics.accuracy import counts_by_user
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger, TrialRecord, encode_records
from sweeps.ledger.words import GLOBAL, TESTED_HEADS, TUNED_USER, USER
from sweeps.ranking.recommendation import DEFAULT_RULE
from sweeps.report.arms_table import arm_rows
from sweeps.report.write_all import write_outputs
from sweeps.run.workspace import Workspace
from sweeps.stages.heads import check_heads, compare_heads


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    raw = {
        "name": "x",
        "countries": ["Arvandia"],
        "global_model": {"name": "m"},
        "final": {"heads": {"num_settings": 4, "inner_folds": 2, "steps": 8}},
        "cache": str(tmp_path_factory.mktemp("cache")),
    }
    return parse_config(SweepConfig, raw, "test")


@pytest.fixture(scope="module")
def many(workspace: Workspace) -> Workspace:
    """The workspace with twice the users, so that they can be weighed."""
    data = workspace.countries["Arvandia"]
    half = (data.pairs.interaction % 2).astype(str)
    twice = replace(data, user=np.char.add(data.user.astype(str), half))
    return replace(workspace, countries={"Arvandia": twice})


@pytest.fixture(scope="module")
def records(config: SweepConfig, many: Workspace, tmp_path_factory) -> list[TrialRecord]:
    ledger = Ledger(tmp_path_factory.mktemp("run"))
    compare_heads(config, many, ledger, lambda _: None)
    return ledger.read()


def arms_of(records: list[TrialRecord]) -> list[str]:
    return [record.arm for record in records if record.country == "Arvandia"]


def test_every_arm_is_judged_on_the_same_test_pairs(
    records: list[TrialRecord], many: Workspace
) -> None:
    data = many.countries["Arvandia"]
    which = data.pairs_in("test")
    expected = counts_by_user(data.reference_margin[which], data.user[which])
    for record in records:
        assert (record.purpose, record.state) == ("head", "complete")
        if record.country == "Arvandia":
            assert record.evaluation is not None
            assert record.evaluation.part == "test"
            assert record.evaluation.global_by_user.model_dump() == expected
    assert arms_of(records)[0] == GLOBAL
    assert records[0].evaluation.by_user.model_dump() == expected


def test_users_are_weighed_only_where_they_can_be(
    config: SweepConfig, workspace: Workspace, records: list[TrialRecord], tmp_path: Path
) -> None:
    assert arms_of(records) == [GLOBAL, *TESTED_HEADS]
    ledger = Ledger(tmp_path)
    compare_heads(config, workspace, ledger, lambda _: None)
    plain = [arm for arm in TESTED_HEADS if arm not in (USER, TUNED_USER)]
    assert arms_of(ledger.read()) == [GLOBAL, *plain]


def test_a_second_call_adds_only_what_is_missing(
    config: SweepConfig, many: Workspace, records: list[TrialRecord], tmp_path: Path
) -> None:
    (tmp_path / "trials.jsonl").write_bytes(encode_records(records[:-1]))
    ledger = Ledger(tmp_path)
    compare_heads(config, many, ledger, lambda _: None)
    again = ledger.read()
    assert [record.trial_id for record in again] == [record.trial_id for record in records]
    assert again[-1].evaluation == records[-1].evaluation
    compare_heads(config, many, ledger, lambda _: None)
    assert ledger.read() == again


def test_heads_stand_in_files_of_their_own(records: list[TrialRecord], tmp_path: Path) -> None:
    (tmp_path / "trials.jsonl").write_bytes(encode_records(records))
    assert arm_rows(records) == []
    outputs = write_outputs(tmp_path, rule=DEFAULT_RULE)
    assert {row.arm for row in outputs.heads} == set(arms_of(records))
    assert (tmp_path / "heads.csv").read_text().startswith("country,arm,accuracy")
    assert (tmp_path / "heads.png").stat().st_size > 10_000
    page = outputs.page.read_text()
    assert "Linear heads on test users" in page
    assert "This run has no final models yet." in page


def test_too_few_users_are_refused_before_the_search(
    config: SweepConfig, workspace: Workspace
) -> None:
    check_heads(config, workspace.countries)
    data: CountryData = workspace.countries["Arvandia"]
    one = replace(data, user=np.full(len(data.user), "u"))
    with pytest.raises(ValueError, match=r"has 1 user beside .* final\.heads\.inner_folds is 2"):
        check_heads(config, {"Arvandia": one})
