"""A model that is not there is told before anything is prepared."""

from pathlib import Path

import pytest

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.run.table_and_model import prepare_table_and_model


@pytest.mark.parametrize("field", ["name", "backbone"])
def test_a_missing_model_is_told_first(field: str, tmp_path: Path) -> None:
    given = {
        "name": "early",
        "countries": ["Arvandia"],
        "data": {"source": "synthetic"},
        "global_model": {field: str(tmp_path / "no-model")},
    }
    config = parse_config(SweepConfig, given, "early.yaml")
    with pytest.raises(FileNotFoundError, match="No model folder at"):
        prepare_table_and_model(config, tmp_path, print)
    assert not list(tmp_path.iterdir())
