"""Every table that we write, read by polars without options: columns, numbers and rows as ours."""

from pathlib import Path

import pandas as pd
import pytest

from scpo.config import SyntheticConfig
from scpo.data.interactions import write_interactions
from scpo.data.sources.synthetic import make_synthetic
from sweeps.ranking.recommendation import DEFAULT_RULE
from sweeps.report.write_all import write_outputs
from tests.interop.conftest import require
from tests.sweeps.conftest import make_records, write_ledger


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_ledger(tmp_path_factory.mktemp("run"), make_records())
    (folder / "config.yaml").write_text("name: sweep-1\n")
    write_outputs(folder, rule=DEFAULT_RULE)
    return folder


def test_tables_of_a_run(run: Path) -> None:
    polars = require("polars")
    files = sorted(run.glob("*.csv"))
    assert {"leaderboard.csv", "arms.csv", "regret.csv", "curves.csv"} <= {f.name for f in files}
    for file in files:
        ours, theirs = pd.read_csv(file), polars.read_csv(file, infer_schema_length=None)
        assert theirs.columns == list(ours.columns)
        assert len(theirs) == len(ours)
        for name in ours.select_dtypes("number"):
            assert theirs[name].dtype.is_numeric() or ours[name].isna().all(), (file.name, name)


def test_interactions(tmp_path: Path) -> None:
    polars = require("polars")
    world = make_synthetic(SyntheticConfig(num_countries=2, users_per_country=2))
    write_interactions(world.interactions, tmp_path / "interactions.parquet")
    table = polars.read_parquet(tmp_path / "interactions.parquet")
    assert table["country"].to_list() == world.interactions["country"].to_pylist()
    assert table["responses"].to_list() == world.interactions["responses"].to_pylist()
