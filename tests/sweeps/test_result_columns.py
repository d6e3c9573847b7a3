"""The columns of docs/results.md are those that are written, and load as the types it names."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest

from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.evaluation.pair_scores import PairScores, write_pairs
from sweeps.cost.selections import SelectionRow, SweepPlan, write_plan
from sweeps.cost.work import Rate, WorkRow
from sweeps.curves.output.files import write_points
from sweeps.curves.points import curve_points
from sweeps.curves.summary import curve_summary, write_summary
from sweeps.ledger.records import TrialRecord
from sweeps.probe.table import write_probe
from sweeps.ranking.ranking import rank_records
from sweeps.ranking.regret import regret_table, write_regret
from sweeps.report.arms_table import ablation_rows, arm_rows, write_ablation, write_arms
from sweeps.report.leaderboard import write_leaderboard

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
SECTION = re.compile(r"^## (\S+\.(?:csv|parquet))\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
CSV_FILES = (
    *("leaderboard", "arms", "regret", "curves", "curve_summary", "ablation", "probe"),
    *("plan", "plan_work"),
)


def documented() -> dict[str, dict[str, str]]:
    """Types by column by file, as the page has them."""
    return {
        name: dict(re.findall(r"^\| `(\w+(?:\.\d)?)` \| ([^|]+?) \|", body, re.MULTILINE))
        for name, body in SECTION.findall(PAGE.read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="module")
def tables(records: list[TrialRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table of a run, from the small ledger of these tests."""
    out = tmp_path_factory.mktemp("tables")
    rankings, points = rank_records(records), curve_points(records)
    write_leaderboard(rankings, out / "leaderboard.csv")
    write_arms(arm_rows(records), out / "arms.csv", {"Mexico": "looked at before"})
    write_regret(regret_table(records, rankings), out / "regret.csv")
    write_points(points, out / "curves.csv")
    write_summary(curve_summary(points, num_resamples=5), out / "curve_summary.csv")
    finals = [record for record in records if record.purpose == "final"]
    write_ablation(ablation_rows(finals, "test"), out / "ablation.csv")
    write_probe((), out / "probe.csv")
    selection = SelectionRow("Chile", 0.7, math.inf, 0.5, 0.0, 10, 5, 5.0, 1.0, (0,) * 9 + (5,))
    work = WorkRow("total", 3, 1e4, 1e3, 0.2, 0.1)
    write_plan(SweepPlan([selection], [work], Rate(1.0, 1.0, "a test"), 1, []), out)
    scores = PairScores(
        country="Chile",
        user=np.array(["u"]),
        pair_id=np.array(["i:1>0"]),
        part=np.array(["test"]),
        reference_margin=np.array([0.5]),
        length_difference=np.array([3.0]),
        responses=np.array([[1, 0]]),
        rewards={"global": np.array([[1.0, 0.5]])},
    )
    write_pairs([scores], out / "pairs.parquet")
    return out


def test_every_file_has_its_section() -> None:
    names = {*(f"{name}.csv" for name in CSV_FILES), "interactions.parquet", "pairs.parquet"}
    assert documented().keys() == names


@pytest.mark.parametrize("name", CSV_FILES)
def test_columns_of_csv_are_those_on_the_page(tables: Path, name: str) -> None:
    header = (tables / f"{name}.csv").read_text(encoding="utf-8").partition("\n")[0]
    assert header.split(",") == list(documented()[f"{name}.csv"])


def test_columns_of_parquet_are_those_on_the_page(tables: Path) -> None:
    assert INTERACTIONS_SCHEMA.names == list(documented()["interactions.parquet"])
    pairs = pq.read_schema(tables / "pairs.parquet")
    assert pairs.names == list(documented()["pairs.parquet"])


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("name", CSV_FILES)
def test_columns_load_as_their_types(tables: Path, name: str, library: str) -> None:
    module = pytest.importorskip(library)
    for column, kind in documented()[f"{name}.csv"].items():
        values = values_of(module, tables / f"{name}.csv", column)
        kinds = {"true or false": bool, "number": int | float, "whole number": int, "text": str}
        for value in values:
            if kind == "whole number" and isinstance(value, float):
                assert value.is_integer()  # of a column with empty cells
            elif kind == "text" and column == "seed":
                assert str(value) == "mean" or int(value) >= 0
            else:
                assert isinstance(value, kinds[kind]), (column, value)


def values_of(module: ModuleType, file: Path, column: str) -> Sequence[object]:
    """Values of a column that are not empty, as plain Python has them."""
    if module.__name__ == "pandas":
        return module.read_csv(file)[column].dropna().tolist()
    return module.read_csv(file, infer_schema_length=None)[column].drop_nulls().to_list()
