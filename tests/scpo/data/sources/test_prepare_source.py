import json

import pytest

from scpo.config import DataConfig, SyntheticConfig
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import prepare_source


def test_synthetic_options_arrive(tmp_path):
    synthetic = SyntheticConfig(num_countries=2, users_per_country=3, interactions_per_user=1)
    prepare_source(DataConfig(source="synthetic", synthetic=synthetic), tmp_path)
    table = read_interactions(tmp_path)
    assert table.num_rows == 2 * 3
    assert len(set(table["user_id"].to_pylist())) == 6


def test_pairs_with_their_own_columns(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"prompt": "p", "chosen": "good", "rejected": "bad", "who": "u1", "land": "Chile"}
    nowhere = {name: value for name, value in row.items() if name != "land"}
    file.write_text("".join(json.dumps(item) + "\n" for item in (row, nowhere)))
    config = DataConfig(
        source="pairs",
        path=str(file),
        user_column="who",
        country_column="land",
        default_country="Peru",
    )
    prepare_source(config, tmp_path / "out")
    table = read_interactions(tmp_path / "out")
    assert sorted(table["country"].to_pylist()) == ["Chile", "Peru"]


def test_every_column_may_have_another_name(tmp_path):
    row = {"q": "p", "better": "good", "worse": "bad", "by": 1.5, "who": "u", "land": "Chile"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    names = {"prompt": "q", "chosen": "better", "rejected": "worse", "margin": "by"}
    names |= {"user": "who", "country": "land"}
    given = {f"{name}_column": column for name, column in names.items()}
    config = DataConfig(source="pairs", path=str(tmp_path / "pairs.jsonl"), **given)
    prepare_source(config, tmp_path / "out")
    (found,) = read_interactions(tmp_path / "out").to_pylist()
    assert (found["prompt"], found["user_id"], found["country"]) == ("p", "u", "Chile")
    ((better, worse),) = found["comparisons"]
    assert (found["responses"][better], found["responses"][worse]) == ("good", "bad")
    assert found["margins"] == [1.5]
    with pytest.raises(ValueError, match=r"but \['quality'\] are in no row"):
        prepare_source(config.model_copy(update={"margin_column": "quality"}), tmp_path / "out")


def test_a_missing_file_is_named(tmp_path):
    config = DataConfig(source="pairs", path=str(tmp_path / "none.csv"))
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        prepare_source(config, tmp_path / "out")
