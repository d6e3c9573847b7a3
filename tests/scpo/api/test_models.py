"""Reward models as `import scpo` gives them, against plain transformers."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import scpo
import scpo.api.models
import scpo.api.scorer
from scpo.models.folder.contract import ModelFacts, write_facts
from scpo.models.reward_model import content_hash

PROMPTS = ["a b c", "d", "e f g h a b", "a", "b b"]
RESPONSES = ["good", "bad bad fine", "h", "long warm cold a b", "fine"]
DIALOGUE = [
    {"role": "system", "content": "short"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "fine"},
    {"role": "user", "content": "c d"},
]


@pytest.fixture(scope="module")
def models(model_folder):
    return {
        kind: scpo.RewardModel.from_pretrained(model_folder(kind)) for kind in ("bert", "llama")
    }


def plain_rewards(folder, inputs):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**inputs).logits[:, 0].numpy()


def test_pairs_score_as_in_plain_transformers(models, model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder("bert"))
    inputs = tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")
    rewards = models["bert"].score(PROMPTS, RESPONSES)
    assert (rewards.shape, rewards.dtype) == ((5,), np.float32)
    np.testing.assert_allclose(rewards, plain_rewards(model_folder("bert"), inputs), atol=1e-5)
    assert np.ptp(rewards) > 0.01


def test_conversations_score_as_in_plain_transformers(models, model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    answers = [[{"role": "assistant", "content": text}] for text in RESPONSES]
    inputs = tokenizer.apply_chat_template(
        [DIALOGUE + answer for answer in answers],
        padding=True,
        return_dict=True,
        return_tensors="pt",
    )
    rewards = models["llama"].score([DIALOGUE] * 5, answers)
    np.testing.assert_allclose(rewards, plain_rewards(model_folder("llama"), inputs), atol=1e-5)
    assert models["llama"].score([DIALOGUE], RESPONSES[:1]) == rewards[:1]
    assert models["llama"](prompts=[DIALOGUE], completions=answers[:1], trainer_state=None) == [
        float(rewards[0])
    ]


def test_ranking_choosing_and_preferring_follow_the_scores(models):
    model = models["bert"]
    rewards = model.score(["a b"] * 5, RESPONSES)
    order = sorted(range(5), key=lambda n: -rewards[n])
    ranked = model.rank("a b", RESPONSES)
    assert ranked == [{"corpus_id": n, "score": float(rewards[n])} for n in order]
    assert model.rank("a b", RESPONSES, 2, return_documents=True) == [
        {**entry, "text": RESPONSES[entry["corpus_id"]]} for entry in ranked[:2]
    ]
    assert model.best_of_n("a b", RESPONSES) == (order[0], float(max(rewards)))
    first, second = rewards[:2].astype(float)
    expected = math.exp(first) / (math.exp(first) + math.exp(second))
    assert model.prefer("a b", *RESPONSES[:2]) == pytest.approx(expected, abs=1e-7)
    assert [entry["corpus_id"] for entry in model.rank("a", ["good", "bad", "good"])].index(0) < [
        entry["corpus_id"] for entry in model.rank("a", ["good", "bad", "good"])
    ].index(2)
    assert model.rank("a", []) == []


@pytest.mark.parametrize(
    ("prompts", "responses", "match"),
    [
        ("a", ["good"], "`prompts` must be a list .* but is one text"),
        (["a"], "good", "`responses` must be a list .* but is one text"),
        (DIALOGUE, ["a"], "is one conversation"),
        (["a", "b"], ["good"], "there are 2 prompts and 1 responses"),
        ([[]], ["good"], "A prompt must hold a message"),
        ([[{"from": "user"}]], ["good"], "must have a role"),
        ([float("nan")], ["good"], "A prompt must be a text or a list of messages, but is nan"),
        (["a"], [None], "A response must be a text or a list of messages, but is None"),
        (["a"], [[{"role": "assistant", "content": "b", "tool_calls": [1]}]], "has tool_calls"),
        ([[{"role": "user", "content": "b", "images": ["c"]}]], ["good"], "has images"),
    ],
)
def test_what_cannot_be_meant_is_refused(models, prompts, responses, match):
    with pytest.raises(ValueError, match=match):
        models["bert"].score(prompts, responses)


def test_a_role_by_another_name_is_that_role(models):
    said = [[{"role": "Human", "content": "a b"}], [{"role": "user", "content": "a b"}]]
    answers = [[{"role": "gpt", "content": "good", "tool_calls": None}], "good"]
    first, second = models["llama"].score(said, answers)
    assert first == second


def test_nothing_to_choose_from_is_refused(models):
    with pytest.raises(ValueError, match="At least one response"):
        models["bert"].best_of_n("a", [])
    with pytest.raises(ValueError, match="top_k >= 1"):
        models["bert"].rank("a", RESPONSES, 0)


def test_a_saved_model_scores_the_same(models, tmp_path):
    folder = models["bert"].save_pretrained(tmp_path / "saved")
    again = scpo.RewardModel.from_pretrained(folder)
    np.testing.assert_array_equal(
        again.score(PROMPTS, RESPONSES), models["bert"].score(PROMPTS, RESPONSES)
    )
    assert again.max_tokens == 512


@pytest.fixture(scope="module")
def country_folders(model_writer, model_folder, tmp_path_factory):
    """Two countries' models of one global model, and one of another global model."""
    root = tmp_path_factory.mktemp("countries")
    own = content_hash(str(model_folder("bert")))
    for seed, (name, told) in enumerate({"Mexico": own, "Chile": own, "Peru": "ab" * 32}.items()):
        folder = model_writer(root / name, "bert", seed=seed + 5)
        write_facts(folder, ModelFacts(country=name, global_model=told, max_tokens=32))
    return root


def test_a_mixture_is_the_global_model_and_a_share_of_each_way(models, country_folders):
    folders = {name: country_folders / name for name in ("Mexico", "Chile")}
    mixed = scpo.mix(models["bert"], {"Mexico": 0.7, "Chile": 0.2}, folders)
    shared = models["bert"].score(PROMPTS, RESPONSES).astype(float)
    by_country = {
        name: scpo.RewardModel.from_pretrained(folder).score(PROMPTS, RESPONSES).astype(float)
        for name, folder in folders.items()
    }
    expected = (
        shared + 0.7 * (by_country["Mexico"] - shared) + 0.2 * (by_country["Chile"] - shared)
    )
    np.testing.assert_allclose(mixed.score(PROMPTS, RESPONSES), expected, atol=1e-6)
    assert mixed.best_of_n("a b", RESPONSES).index == int(
        np.argmax(mixed.score(["a b"] * 5, RESPONSES))
    )
    whole = scpo.mix(models["bert"], {"Mexico": 1.0, "Chile": 0.0}, folders)
    np.testing.assert_array_equal(
        whole.score(PROMPTS, RESPONSES), by_country["Mexico"].astype(np.float32)
    )


def test_a_mixture_of_two_scales_is_refused(models, country_folders):
    with pytest.raises(ValueError, match="Peru continues another global model"):
        scpo.mix(models["bert"], {"Peru": 0.5}, {"Peru": country_folders / "Peru"})
    with pytest.raises(ValueError, match="must be a finite number"):
        scpo.mix(models["bert"], {"Mexico": float("nan")})
    with pytest.raises(FileNotFoundError, match="No model folder at Mexiko"):
        scpo.mix(models["bert"], {"Mexiko": 0.5})


def test_the_budget_is_that_of_scpo_json(country_folders):
    model = scpo.RewardModel.from_pretrained(country_folders / "Mexico")
    assert (model.country, model.max_tokens, model.overlong) == ("Mexico", 32, "truncate_prompt")
    assert "country=Mexico" in repr(model)


@pytest.mark.parametrize("module", [scpo.api.scorer, scpo.api.models])
def test_examples_run(module, models, model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"scpo": scpo, "model": models["bert"], "folder": str(model_folder("bert"))}
    names["decoder"] = models["llama"]
    found = doctest.testmod(module, extraglobs=names)
    assert found.failed == 0
    assert found.attempted >= 3


def test_a_rendered_text_without_tokens_is_refused(models, monkeypatch):
    monkeypatch.setattr("scpo.api.models.text_bos", lambda _: None)
    with pytest.raises(ValueError, match=r"text 1 \(from 0\) has none. Leave it out"):
        models["llama"].score_rendered(["a b", ""])


def test_rows_of_a_table_are_ranked_by_position_and_sets_are_refused(models):
    model = models["bert"]
    answers = pd.Series(RESPONSES, index=[4, 3, 2, 1, 0])
    told = model.rank("a b", answers, return_documents=True)
    assert told == model.rank("a b", RESPONSES, return_documents=True)
    assert model.best_of_n("a b", iter(RESPONSES)).index == told[0]["corpus_id"]
    for given, kind in (({"good", "bad"}, "set"), ({"good": 1}, "dict"), (None, "NoneType")):
        with pytest.raises(ValueError, match=f"`responses` must be a list, but is a {kind}"):
            model.best_of_n("a b", given)
    assert models["llama"].score_rendered([]).shape == (0,)
    for given, fault in (("abc", "is one text"), ([None], "A text must stand here, but got None")):
        with pytest.raises(ValueError, match=fault):
            models["llama"].score_rendered(given)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 8"),
        ({"max_tokens": 12.5}, "max_tokens: Input should be a valid integer"),
        ({"overlong": "truncate-left"}, "overlong: .*did you mean 'truncate_left'"),
        ({"precision": "fp16"}, "precision must be auto, fp32 or bf16"),
        ({"device": None}, "device is 'None'"),
    ],
)
def test_settings_are_checked_before_the_first_score(model_folder, options, fault):
    with pytest.raises(ValueError, match=fault):
        scpo.RewardModel.from_pretrained(model_folder("bert"), **options)


def test_rewards_are_of_the_models_precision_within_the_callers_autocast(models):
    rewards = models["bert"].score(PROMPTS, RESPONSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(models["bert"].score(PROMPTS, RESPONSES), rewards)


def test_weights_that_are_no_numbers_or_overflow_are_refused(models, model_folder):
    for weights in ({"a": "0.5"}, {"a": None}, ["a"], None):
        with pytest.raises(ValueError, match="must be a finite number by each country or model"):
            scpo.mix(models["bert"], weights)
    huge = scpo.mix(models["bert"], {"a": 1e300}, {"a": models["llama"]})
    with pytest.raises(RuntimeError, match="are not finite"):
        huge.score(["a"], ["good"])
