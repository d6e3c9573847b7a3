import json
from dataclasses import replace

import numpy as np
import pytest

from scpo.config import EncoderConfig
from scpo.countries.country_data import build_country, utterance_texts
from scpo.countries.scoring import score_pairs, score_responses
from scpo.data.interactions import write_interactions
from scpo.data.splits import SPLIT_FILE, name_users, split_users
from scpo.evaluation.labelled_models import ModelsToJudge
from scpo.evaluation.reporting.card_facts import CardFacts
from scpo.evaluation.reporting.evaluate import run_evaluation
from scpo.evaluation.score_models import held_out, pair_scores
from scpo.files.atomic import MARKER, write_json
from scpo.tokens.encoding import encode_texts
from tests.scpo.evaluation.pairs_file import read_pairs


@pytest.fixture
def data(pair_tokenizer, interactions):
    table = interactions(users={"A": 20})
    prompts, responses = utterance_texts(table)
    texts = encode_texts(pair_tokenizer, prompts, responses, max_tokens=32)
    reference = np.random.default_rng(1).normal(size=len(texts)).round(1)
    return build_country("A", table, split_users(table, ["A"]), texts, reference)


def test_pairs_carry_the_rewards_of_their_two_responses(tiny_bert, data):
    which = held_out(data, "test")
    assert set(data.part[which]) == {"validation", "test"}
    rewards = score_responses(tiny_bert, data, which, precision="fp32")
    scores = pair_scores(data, which, {"A/scpo": rewards})
    margin = score_pairs(tiny_bert, data, which, precision="fp32")
    np.testing.assert_allclose(scores.margin("A/scpo"), margin, atol=1e-6)
    np.testing.assert_array_equal(scores.margin("global"), data.reference_margin[which])
    np.testing.assert_array_equal(scores.margin("length"), data.length_margin[which])
    np.testing.assert_array_equal(scores.length_difference, data.length_margin[which])
    np.testing.assert_array_equal(scores.pair_id, data.pair_ids[which])


def test_training_responses_are_not_scored(tiny_bert, data):
    seen = []
    tiny_bert.model.register_forward_pre_hook(
        lambda module, inputs, named: seen.append(len(named["input_ids"])), with_kwargs=True
    )
    which = held_out(data, "test")
    score_responses(tiny_bert, data, which)
    assert sum(seen) == len({*data.pairs.chosen[which], *data.pairs.rejected[which]})


def test_a_part_without_pairs_is_refused(data):
    none = replace(data, part=np.full(len(data.part), "train"))
    with pytest.raises(ValueError, match="A: the test users gave no pair"):
        held_out(none, "test")


@pytest.fixture
def prepared(interactions, tmp_path):
    write_interactions(interactions(users={"Chile": 12, "Peru": 12}), tmp_path / "data")
    return tmp_path / "data"


def evaluate(prepared, models, *, countries=(), **keys):
    folder = prepared.parent
    judged = ModelsToJudge(
        prepared,
        str(folder / "global"),
        models,
        folder / "cache",
        countries=countries,
        encoder=EncoderConfig(max_tokens=32),
    )
    return run_evaluation([judged], folder / "out", say=lambda line: None, **keys)


def test_models_of_folders_are_scored_and_told(prepared, model_writer):
    folder = prepared.parent
    names = ("global", "chile", "peru")
    for seed, name in enumerate(names):
        model_writer(folder / name, "bert", seed=seed)
    models = {"Chile/scpo": str(folder / "chile"), "Peru/scpo": str(folder / "peru")}
    tables = evaluate(prepared, models)
    scores = read_pairs(folder / "out" / "pairs.parquet")
    assert [each.country for each in scores] == ["Chile", "Peru"]
    assert set(scores[0].rewards) == {"global", "length", *models}
    matrix = {(row["model"], row["country"]): row for row in tables["matrix"]}
    for each in scores:
        test = each.in_part("test")
        for label in models:
            found = matrix[label, each.country]["accuracy"]
            assert found == np.mean(test.margin(label) > 0)
    # the global model's rewards come from the cache, and are its own
    again = evaluate(prepared, {"same": str(folder / "global")}, countries=["Chile"])
    row = next(row for row in again["movement"] if row["arm"] == "same")
    assert row["agreement"] == 1.0
    assert row["rank_correlation"] == pytest.approx(1.0)


def test_labels_and_countries_must_be_there(prepared, model_writer):
    folder = str(model_writer(prepared.parent / "global", "bert"))
    message = "labels that name those of the data, such as Chile/scpo, but got the labels Kenya"
    with pytest.raises(ValueError, match=message):
        evaluate(prepared, {"Kenya": folder})
    with pytest.raises(ValueError, match="No interactions of Kenya; there are some of Chile"):
        evaluate(prepared, {"full": folder}, countries=["Kenya"])
    with pytest.raises(FileNotFoundError, match=r"Peru/scpo: .* holds no config\.json"):
        evaluate(prepared, {"Peru/scpo": str(prepared.parent)})
    with pytest.raises(FileNotFoundError, match=r"Peru: No model folder at \./none"):
        evaluate(prepared, {"Peru": "./none"})


def test_a_card_goes_beside_its_model(prepared, model_writer):
    folder = prepared.parent
    for seed, name in enumerate(("global", "chile")):
        model_writer(folder / name, "bert", seed=seed)
    facts = CardFacts(base_model="made here", license="mit", data=({"name": "x", "license": "y"},))
    evaluate(prepared, {"Chile": str(folder / "chile")}, facts={"Chile": facts})
    card = (folder / "chile" / "README.md").read_text()
    assert "preferences in Chile" in card
    assert "tuned from made here by" in card
    with pytest.raises(ValueError, match="there are facts of Peru"):
        evaluate(prepared, {"Chile": str(folder / "chile")}, facts={"Peru": facts})


def test_another_tokenizer_is_refused(prepared, model_writer):
    model_writer(prepared.parent / "global", "bert")
    other = model_writer(prepared.parent / "other", "bert")
    words = other / "tokenizer.json"
    words.write_text(words.read_text().replace('"cold"', '"newword"'))
    with pytest.raises(ValueError, match="Chile: a model must have the tokenizer of the global"):
        evaluate(prepared, {"Chile": str(other)})


def test_users_that_trained_a_model_never_test_it(prepared, model_writer):
    folder = prepared.parent
    for seed, name in enumerate(("global", "chile")):
        model_writer(folder / name, "bert", seed=seed)
    evaluate(prepared, {"Chile": str(folder / "chile")})
    sides = json.loads((folder / SPLIT_FILE).read_text())["countries"]["Chile"]
    marker = {"kind": "model", "format": 1}
    for side in ("train", "test", "validation"):
        users = name_users(user for user in sides if sides[user] == side)
        write_json(folder / "chile" / MARKER, {**marker, "trained_on": users})
        if side == "train":
            evaluate(prepared, {"Chile": str(folder / "chile")})
            continue
        with pytest.raises(ValueError, match=r"Chile: \d+ users who judge it trained it"):
            evaluate(prepared, {"Chile": str(folder / "chile")})
    run = folder / "run"
    (run / "models").mkdir(parents=True)
    run_model = model_writer(run / "models" / "chile", "bert", seed=1)
    write_json(run / SPLIT_FILE, dict.fromkeys(sides, "train"))  # of a sweep's run
    with pytest.raises(ValueError, match=r"Chile: .* users who judge it trained it"):
        evaluate(prepared, {"Chile": str(run_model)})
