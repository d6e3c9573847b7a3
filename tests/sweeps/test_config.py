"""The sweep's configuration: shipped files load, and what cannot be is refused in words."""

from pathlib import Path

import pytest

from scpo.config import dump_config, load_config, parse_config
from sweeps.config import SweepConfig

FOLDER = Path(__file__).parents[2] / "sweeps" / "configs"
STUDIES = ("study", "study-whole")
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if path.stem not in STUDIES)
LEAST = {"name": "x", "countries": ["A"], "global_model": {"name": "m"}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configuration_loads_and_reads_back(path: Path, tmp_path: Path) -> None:
    config = load_config(SweepConfig, path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config))
    assert load_config(SweepConfig, copy) == config


def test_the_paper_is_shipped() -> None:
    shipped = {"demo", "prism", "prism-local", "study-prism", "tulu-8b", "tulu-8b-full"}
    assert {path.stem for path in CONFIGS} == shipped
    prism = load_config(SweepConfig, next(p for p in CONFIGS if p.stem == "prism"))
    assert (prism.tau, prism.beta, len(prism.countries)) == (0.7, 1.1, 7)
    assert prism.global_model.name == "OpenAssistant/reward-model-deberta-v3-base"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"countries": ["A", "A"]}, r"countries must differ, but \['A'\] occur twice"),
        ({"countries": []}, "countries: List should have at least 1|at least 1 item"),
        ({"name": "../x"}, "name: String should match pattern"),
        ({"search": {"retention": [0.9, 0.2]}}, "`0 <= low <= high` must hold for retention"),
        ({"search": {"retention": [0.2, 0.9]}}, "must reach 1 and both strengths must begin at 0"),
        ({"search": {"strength": [0.5, 3]}}, "must reach 1 and both strengths must begin at 0"),
        ({"search": {"caution": -1}}, "search.caution: Input should be greater"),
        ({"final": {"which": "speed"}}, "final.which: Input should be 'accuracy'"),
        ({"final": {"heads": {"tau": 0.9}}}, "final.heads: .*tau has no meaning here"),
        ({"search": {"retention": [0.0, 0.2]}}, "search.retention.0: Input should be greater"),
        ({"curves": {"arms": ["ful"]}}, r"arms must be of full, .*, but got \['ful'\]"),
        ({"final": {"arms": ["global"]}}, "arms must be of full"),
        ({"final": {"arms": ["full", "full"]}}, "final.arms: .*each must come once"),
        ({"final": {"seeds": [1, 1]}}, "final.seeds: .*each must come once"),
        ({"curves": {"seeds": [-1]}}, "curves.seeds.0: Input should be greater"),
        ({"curves": {"budgets": [0.5, 0.50000001]}}, "curves.budgets: .*each must come once"),
        ({"final": {"heads": {"l2": []}}}, "final.heads.l2: .*at least 1 item"),
        ({"final": {"heads": {"retention": [0.9, 0.2]}}}, "low <= high` must hold for retention"),
        ({"report_to": ["wandb", "mlfow"]}, r"but got 'mlfow'; did you mean 'mlflow'\?"),
        ({"report_to": ["xyz"]}, "trackers are wandb, .*, but got 'xyz'"),
        ({"final": {"sharded": {"countries": ["B"]}}}, r"\['B'\] must be among countries"),
        ({"country_lanes": {"B": {"workers": 2}}}, r"\['B'\] must be among countries"),
        ({"countries": ["USA", "US"]}, r"\['United States'\] occur twice"),
        ({"countries": ["-"]}, "A country must be named, but got '-'"),
        ({"countries": [False]}, "write 'NO' in quotes"),
        ({"global_countries": ["nan"]}, "A country must be named, but got 'nan'"),
        ({"countries": ["MX"], "country_lanes": {"Mexcio": {}}}, r"did you mean Mexico\?"),
        ({"countries": ["MX"], "country_lanes": {"MX": {}, "Mexico": {}}}, "must come once"),
        ({"lanes": {"offload": "optimizer"}}, "offload optimizer needs workers >= 2"),
        ({"lanes": {"workers": 2, "gpus": 0.5}}, "one GPU or none, but got gpus 0.5"),
        ({"lanes": {"workers": 2, "zero_stage": 2, "offload": "weights"}}, "ZeRO stage 3 at"),
        ({"global_model": {}}, "set either global_model.name or global_model.backbone"),
        ({"tau": 1.5}, "tau: Input should be less than or equal to 1"),
        ({"beta": float("nan")}, "beta: Input should be"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config(SweepConfig, {**LEAST, **change}, "test")


def test_countries_are_named_in_any_spelling() -> None:
    names = {"countries": ["UK", "México"], "global_countries": ["Gambia, The", "Arvandia"]}
    lanes = {"GB": {"cpus": 2.0}}
    config = parse_config(SweepConfig, {**LEAST, **names, "country_lanes": lanes}, "test")
    assert config.countries == ("United Kingdom", "Mexico")
    assert config.global_countries == ("Gambia", "Arvandia")
    assert config.lanes_of("search", "United Kingdom").cpus == 2.0
    sharded = {"final": {"sharded": {"countries": ["Great Britain"]}}}
    assert parse_config(SweepConfig, {**LEAST, **names, **sharded}, "test").final.lanes


def test_lanes_are_those_of_the_stage_then_the_country_then_the_sweep() -> None:
    own = {"final": {"lanes": {"workers": 8}}, "country_lanes": {"A": {"workers": 2}}}
    config = parse_config(SweepConfig, {**LEAST, **own}, "test")
    workers = {
        purpose: [config.lanes_of(purpose, country).workers for country in ("A", "elsewhere")]
        for purpose in ("search", "curve", "final")
    }
    assert workers == {"search": [2, 1], "curve": [2, 1], "final": [8, 8]}
    assert [lanes.workers for lanes in config.all_lanes()] == [1, 2, 8]


def test_sharded_finals_of_older_configurations_are_read(caplog: pytest.LogCaptureFixture) -> None:
    old = {"countries": ["A"], "workers": 4, "zero_stage": 3, "offload": "none"}
    config = parse_config(SweepConfig, {**LEAST, "final": {"sharded": old}}, "test")
    assert config.final.lanes is not None
    assert (config.final.lanes.workers, config.final.lanes.zero_stage) == (4, 3)
    assert "final.sharded is read as final.lanes" in caplog.text
    nobody = parse_config(SweepConfig, {**LEAST, "final": {"sharded": {"countries": []}}}, "test")
    assert nobody.final.lanes is None


def test_code_of_a_model_is_trusted_on_the_command_line_alone(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: s\ncountries: [Chile]\nglobal_model:\n  name: a/b\n  trust_remote_code: yes\n"
    )
    with pytest.raises(
        ValueError, match=r"line 5: global_model\.trust_remote_code .*alone.*--set"
    ):
        load_config(SweepConfig, file)
    trusted = load_config(SweepConfig, file, ["global_model.trust_remote_code=true"])
    assert trusted.global_model.trust_remote_code
    assert load_config(SweepConfig, file, is_own=True).global_model.trust_remote_code
    refused = load_config(SweepConfig, file, ["global_model.trust_remote_code=false"])
    assert not refused.global_model.trust_remote_code
