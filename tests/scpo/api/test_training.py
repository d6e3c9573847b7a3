"""Training from preferences in memory, as a user of the package does."""

import doctest

import numpy as np
import pytest
import torch

import scpo
import scpo.api.training
from scpo.countries import one_country


@pytest.fixture
def data(interactions):
    table = interactions(users={"Mexico": 10, "Chile": 3}, per_user=4, seed=3)
    return scpo.Preferences(table, "made up")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))


def test_a_trained_model_scores_and_says_how_well(data, model_folder, tmp_path):
    settings = {"learning_rate": 1e-3, "max_tokens": 48, "epochs": 2}
    steps = []
    out = tmp_path / "mexico"
    common = {"country": "MX", "global_model": model_folder("bert"), "tau": 1.0}
    model = scpo.train(data, **common, out=out, settings=settings, report=steps.append)
    assert len(steps) > 1
    assert (model.country, model.facts.arm, model.facts.beta) == ("Mexico", "scpo", 1.1)
    assert model.max_tokens == 48
    shared = scpo.RewardModel.from_pretrained(model_folder("bert"))
    prompts, responses = ["a b", "c"], ["good", "bad d"]
    assert np.abs(model.score(prompts, responses) - shared.score(prompts, responses)).max() > 1e-3
    again = scpo.RewardModel.from_pretrained(out)
    np.testing.assert_array_equal(again.score(prompts, responses), model.score(prompts, responses))
    overall = model.evaluation["overall"]
    assert model.evaluation["part"] == "validation"
    assert 0 <= overall["low"] <= overall["accuracy"] <= overall["high"] <= 1
    assert overall["users"] == 2
    # The accuracy again, pair by pair.
    mine = data.table.filter([name == "Mexico" for name in data.table["country"].to_pylist()])
    judged = set(model.evaluation["by_user"]["users"])
    right = total = 0
    for row in mine.to_pylist():
        if row["user_id"] in judged:
            rewards = model.score([row["prompt"]] * 3, row["responses"])
            for i in range(3):
                for j in range(3):
                    if row["scores"][i] > row["scores"][j]:
                        total += 1
                        right += bool(rewards[i] > rewards[j])
    assert (overall["pairs"], overall["accuracy"]) == (total, pytest.approx(right / total))
    in_memory = scpo.train(data, **{**common, "global_model": shared}, settings=settings)
    np.testing.assert_array_equal(
        in_memory.score(prompts, responses), model.score(prompts, responses)
    )
    assert "in memory" in repr(in_memory)
    with pytest.raises(ValueError, match="must lie in a folder"):
        scpo.train(data, **{**common, "global_model": in_memory})


def test_what_cannot_be_trained_is_refused(data, model_folder, tmp_path):
    folder = model_folder("bert")
    with pytest.raises(ValueError, match="No interactions of Peru"):
        scpo.train(data, "Peru", folder)
    with pytest.raises(ValueError, match="unknown key 'learning_rat'; did you mean"):
        scpo.train(data, "Mexico", folder, settings={"learning_rat": 1})
    with pytest.raises(ValueError, match="user_strength in `settings` is of the arm user, but"):
        scpo.train(data, "Mexico", folder, settings={"user_strength": 1.0})
    with pytest.raises(ValueError, match="user_strength in `settings` must be a number, but got"):
        scpo.train(data, "Mexico", folder, arm="user", settings={"user_strength": "x"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        scpo.train(data, "Mexico", folder, out=tmp_path / "mine")


def test_users_are_weighed_by_the_strength_that_is_given(interactions, model_folder, monkeypatch):
    given = []

    def strength_of(data, which, strength=None):
        given.append(strength)
        return 0.5

    monkeypatch.setattr(one_country, "arm_strength", strength_of)
    data = scpo.Preferences(interactions(users={"Peru": 16}, per_user=3, seed=3), "made up")
    settings = {"max_tokens": 48, "user_strength": 2}
    model = scpo.train(data, "Peru", model_folder("bert"), arm="user", settings=settings)
    assert (given, model.facts.arm) == ([2], "user")


def test_another_global_model_at_the_same_place_is_another(data, model_writer, tmp_path):
    common = {"settings": {"max_tokens": 48}, "arm": "full", "out": tmp_path / "out"}
    model_writer(tmp_path / "global", "bert")
    scpo.train(data, "Mexico", tmp_path / "global", **common)
    scpo.train(data, "MX", tmp_path / "global", **common)
    model_writer(tmp_path / "global", "bert", seed=1)
    with pytest.raises(ValueError, match="made from other data or settings"):
        scpo.train(data, "Mexico", tmp_path / "global", **common)


def test_examples_run(model_folder):
    names = {"scpo": scpo, "folder": str(model_folder("bert"))}
    found = doctest.testmod(scpo.api.training, extraglobs=names)
    assert (found.failed, found.attempted > 5) == (0, True)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"part": "tset"}, "part must be one of train, validation, test"),
        ({"arm": "scop"}, "arm must be one of full"),
        ({"tau": "0.7"}, "tau must be a finite number, but got '0.7'"),
        ({"beta": float("inf")}, "beta must be a finite number, but got inf"),
        ({"country": None}, "country must be one country's name"),
        ({"data": [{"prompt": "a"}]}, "data must be Preferences or a folder, but is a list"),
        ({"out": "s3://bucket/model"}, "got the URI s3://bucket/model"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_global_model_scores(
    data, model_folder, monkeypatch, given, fault
):
    monkeypatch.setattr(one_country, "load_reward_model", None)
    arguments = {"data": data, "country": "Mexico", "global_model": model_folder("bert")}
    with pytest.raises(ValueError, match=fault):
        scpo.train(**{**arguments, **given})


def test_a_training_leaves_the_callers_draws_alone_and_needs_no_mode_of_torch(data, model_folder):
    arguments = {"arm": "full", "settings": {"max_tokens": 48, "learning_rate": 1e-3}}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = scpo.train(data, "Mexico", model_folder("bert"), **arguments)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        second = scpo.train(data, "Mexico", model_folder("bert"), **arguments)
    assert first.score(["a"], ["good"]) == second.score(["a"], ["good"])
