import pytest

from scpo.config import EncoderConfig, TrainingConfig
from scpo.countries.one_country import ready_training, score_data
from scpo.data.interactions import write_interactions


@pytest.fixture
def named(interactions, model_folder, tmp_path):
    write_interactions(
        interactions(users={"A": 10, "B": 7}), tmp_path / "data" / "interactions.parquet"
    )
    return {
        "data": tmp_path / "data",
        "global_model": str(model_folder("bert")),
        "cache": tmp_path / "cache",
        "encoder": EncoderConfig(max_tokens=32),
    }


# the tiny model's rewards are near each other: 0.5 keeps the pairs that it orders wrongly
ARM = {"country": "A", "arm": "scpo", "tau": 0.5, "beta": 1.1, "training": TrainingConfig()}


def test_scores_are_made_once_for_all_commands(named):
    report, folder = score_data(**named, countries=[])
    assert report.num_scored > 0
    assert folder.is_dir()
    again, same = score_data(**named, countries=["A"])
    assert (again.num_scored, same) == (0, folder)
    ready_training(**named, **ARM)
    assert len(list(folder.parent.iterdir())) == 1  # one cache, also for training


def test_an_arm_selects_and_weighs(named):
    full = ready_training(**named, **(ARM | {"arm": "full"}))
    scpo = ready_training(**named, **ARM)
    assert len(full.pairs.chosen) == full.num_available == scpo.num_available
    assert full.effective_pairs == pytest.approx(full.num_available)
    assert len(scpo.pairs.chosen) < full.num_available
    assert 0 < scpo.effective_pairs <= len(scpo.pairs.chosen)
    assert (scpo.pairs.weights > 0).all()
    random = ready_training(**named, **(ARM | {"arm": "random_k"}))
    assert len(random.pairs.chosen) == len(scpo.pairs.chosen)


def test_a_tau_that_keeps_nothing_is_refused(named):
    match = r"A: tau=1e-09 keeps none of \d+ training pairs\. Raise tau"
    with pytest.raises(ValueError, match=match):
        ready_training(**named, **(ARM | {"tau": 1e-9}))


def test_bad_settings_countries_and_places_are_refused(named):
    with pytest.raises(ValueError, match="`beta > 0`"):
        ready_training(**named, **(ARM | {"beta": 0.0}))
    with pytest.raises(ValueError, match="arm must be one of"):
        ready_training(**named, **(ARM | {"arm": "best"}))
    with pytest.raises(ValueError, match="No interactions of X"):
        ready_training(**named, **(ARM | {"country": "X"}))
    with pytest.raises(FileNotFoundError, match="scpo prepare"):
        ready_training(**(named | {"data": named["data"] / "no"}), **ARM)
    with pytest.raises(FileNotFoundError, match="No model folder"):
        ready_training(**(named | {"global_model": "./no"}), **ARM)
    with pytest.raises(ValueError, match="No interactions of X"):
        score_data(**named, countries=["X"])
