from dataclasses import asdict
from pathlib import Path

import pytest

from scpo.config import SyntheticConfig, dump_config, parse_config
from scpo.data.interactions import write_interactions
from scpo.data.sources.synthetic import make_synthetic
from scpo.files.atomic import write_json
from scpo.models.model_source import ModelSource
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.run.models_of_run import card_facts_of_run, models_of_run


def record_of(country: str, arm: str, model: str | None, **keys: object) -> TrialRecord:
    given = {
        "trial_id": f"{country}-final-{arm}",
        "purpose": "final",
        "country": country,
        "arm": arm,
        "state": "complete",
        "config": {"retention": 0.6, "strength": 1.2, "epochs": 1.0, "budget": 1.0},
        "config_hash": "0",
        "seed": 1,
        "setting": {"tau": 0.7, "beta": None},
        "counts": {"pairs_trained": 30.0, "pairs_labelled": 50.0},
        "model_path": model,
    }
    return TrialRecord.model_validate({**given, **keys})


@pytest.fixture
def run(tmp_path):
    config = {
        "name": "run",
        "countries": ["Belmora", "Arvandia"],
        "data": {"source": "synthetic"},
        "global_model": {"backbone": "/somewhere/minilm"},
        "split": {"seed": 3},
        "encoder": {"max_tokens": 64},
    }
    resolved = parse_config(SweepConfig, config, "test")
    (tmp_path / "config.yaml").write_text(dump_config(resolved))
    world = make_synthetic(
        SyntheticConfig(num_countries=2, users_per_country=20, interactions_per_user=1)
    )
    write_interactions(world.interactions, tmp_path / "data" / "interactions.parquet")
    return tmp_path


def test_final_models_are_found_in_the_run_wherever_it_lies(run):
    ledger = Ledger(run)
    ledger.append(record_of("Arvandia", "scpo_tuned", "/elsewhere/models/arvandia"))
    ledger.append(record_of("Belmora", "full", None))
    ledger.append(record_of("Belmora", "scpo_tuned", "/elsewhere/models/belmora"))
    ledger.append(record_of("Belmora", "scpo", "/x/s", state="failed"))
    judged = models_of_run(run)
    assert list(judged.models.items()) == [
        ("Belmora/scpo_tuned", str(run / "models" / "belmora")),
        ("Arvandia/scpo_tuned", str(run / "models" / "arvandia")),
    ]
    assert judged.global_model == str(run / "global")
    assert (judged.data, judged.countries) == (run / "data", ("Belmora", "Arvandia"))
    assert (judged.split.seed, judged.encoder.max_tokens) == (3, 64)


def test_cards_get_what_the_run_knows(run):
    Ledger(run).append(record_of("Arvandia", "scpo_tuned", "/elsewhere/models/arvandia"))
    facts = card_facts_of_run(run)["Arvandia/scpo_tuned"]
    assert facts.base_model == "a global model made from minilm"  # no path of a machine
    assert facts.license == "unknown"
    assert (facts.users_trained, facts.pairs_trained, facts.pairs_labelled) == (14, 30, 50)
    assert facts.setting["retention"] == 0.6
    assert facts.setting["beta"] is None
    assert "budget" not in facts.setting


def test_a_run_without_models_or_no_run_is_refused(run):
    Ledger(run).append(record_of("Belmora", "full", None))
    with pytest.raises(ValueError, match="Final trainings must have left a model to be judged"):
        models_of_run(run)
    with pytest.raises(FileNotFoundError, match="Is none the folder of a sweep"):
        models_of_run(Path("none"))


def test_a_run_of_a_hub_model_is_judged_by_its_commit_and_that_of_its_base(run):
    config = (run / "config.yaml").read_text()
    config = config.replace("  name: null", "  name: owner/adapter")
    config = config.replace("  backbone: /somewhere/minilm", "  backbone: null")
    (run / "config.yaml").write_text(config)
    asked = {"name": "owner/adapter", "revision": None}
    source = ModelSource("owner/adapter", "c0ffee", ModelSource("owner/base", "decaf"))
    write_json(run / "global_model.json", {"asked": asked, "source": asdict(source)})
    Ledger(run).append(record_of("Arvandia", "scpo_tuned", "/x/arvandia"))
    assert models_of_run(run).global_model == source


def test_a_run_that_keeps_the_global_model_everywhere_says_so(run):
    kept = {"retention": 0.0, "strength": 0.0, "epochs": 1.0}
    Ledger(run).append(record_of("Arvandia", "scpo_tuned", None, config=kept))
    with pytest.raises(ValueError, match=r"Every country of .* keeps the global model"):
        models_of_run(run)
