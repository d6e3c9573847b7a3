from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scpo.config import SyntheticConfig
from scpo.data.interactions import INTERACTIONS_SCHEMA, read_interactions, write_interactions
from scpo.data.sources.synthetic import make_synthetic

LATER = ["margins", "unit", "messages", "vetted", "prompt_prefix"]
ROW = {
    "interaction_id": "i",
    "user_id": "u",
    "country": "Chile",
    "prompt": "Sky?",
    "responses": ["blue", "red", "grey"],
    "scores": None,
    "comparisons": [[0, 1], [0, 2]],
    "margins": [0.5, None],
    "turn": 0,
    "unit": None,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sky?"}],
    "vetted": True,
    "prompt_prefix": "{prompt}",
}


@pytest.fixture
def table() -> pa.Table:
    return pa.Table.from_pylist([ROW], schema=INTERACTIONS_SCHEMA)


def test_what_was_written_is_read(tmp_path: Path, table: pa.Table) -> None:
    write_interactions(table, tmp_path / "interactions.parquet")
    for path in (tmp_path, tmp_path / "interactions.parquet"):
        assert read_interactions(path).equals(table)
        assert read_interactions(path).to_pylist() == [ROW]


def test_a_file_of_before_later_columns_is_read(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table.drop_columns(LATER), tmp_path / "old.parquet")
    found = read_interactions(tmp_path / "old.parquet")
    assert found.schema == INTERACTIONS_SCHEMA
    assert found.to_pylist() == [ROW | dict.fromkeys(LATER)]


def test_labels_of_one_country_in_an_older_file_are_one(tmp_path: Path, table: pa.Table) -> None:
    labels = ["México", "Arvandia", "nan", "MX"]
    rows = [ROW | {"country": label} for label in labels]
    write_interactions(pa.Table.from_pylist(rows, INTERACTIONS_SCHEMA), tmp_path / "x.parquet")
    found = read_interactions(tmp_path / "x.parquet")
    assert found["country"].to_pylist() == ["Mexico", "Arvandia", "nan", "Mexico"]
    assert found.schema == INTERACTIONS_SCHEMA


def test_scored_interactions_have_no_margins() -> None:
    interactions = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=2)
    ).interactions
    assert interactions["margins"].null_count == interactions.num_rows == 12


def test_columns_must_be_those_of_the_schema(tmp_path: Path, table: pa.Table) -> None:
    with pytest.raises(ValueError, match=r"Columns \['interaction_id', .* must hold, but got"):
        write_interactions(table.drop_columns(["turn"]), tmp_path / "x.parquet")
    pq.write_table(table.drop_columns(["turn"]), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet lacks the columns \['turn'\]"):
        read_interactions(tmp_path / "x.parquet")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No interactions at"):
        read_interactions(tmp_path)
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        read_interactions(tmp_path / "x.parquet")
