"""A run's folder refuses other inputs by their names, whichever command comes with them."""

from pathlib import Path

import pytest

from scpo.config import parse_config
from sweeps.config import SweepConfig
from sweeps.run.run_folder import one_run_writer, open_run


def make_config(**changes: object) -> SweepConfig:
    raw = {"name": "a", "countries": ["Chile", "Peru"], "global_model": {"name": "m"}}
    return parse_config(SweepConfig, {**raw, **changes}, "test")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"seed": 5}}, r"training\.seed: 0 there, 5 here"),
        ({"countries": ["Chile"]}, r"countries: \['Chile', 'Peru'\] there, \['Chile'\] here"),
    ],
)
def test_inputs_that_differ_are_named(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    run = tmp_path / "run"
    with one_run_writer(run, make_config()):
        open_run(make_config(), run, resume=False)
    with pytest.raises(ValueError, match=rf"config\.yaml differs .*\({words}\).*--out"):
        one_run_writer(run, make_config(**changes))
    with one_run_writer(run, make_config(name="b", search={"num_trials": 3})):
        """Other names and searches are for the command to judge."""


def test_a_damaged_configuration_is_left_to_the_command(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with one_run_writer(run, make_config()):
        open_run(make_config(), run, resume=False)
    (run / "config.yaml").write_text("name: [")
    with one_run_writer(run, make_config()), pytest.raises(ValueError, match=r"config\.yaml"):
        open_run(make_config(), run, resume=True)
