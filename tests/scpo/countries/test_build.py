import re
from dataclasses import replace

import numpy as np
import pytest

from scpo.config import EncoderConfig, SplitConfig
from scpo.countries.build import divide_users, encoder_of, steer_countries
from scpo.countries.scoring import score_texts
from scpo.models.folder.contract import ModelFacts
from scpo.models.reward_model import content_hash


@pytest.fixture
def steer(tiny_bert, model_folder, interactions, tmp_path):
    table = interactions(users={"A": 8, "C": 3, "B": 7})
    order = np.random.default_rng(0).permutation(table.num_rows)  # countries interleaved

    def call(countries, **named):
        return steer_countries(
            table.take(order),
            countries,
            tiny_bert,
            content_hash(model_folder("bert")),
            split=SplitConfig(),
            max_tokens=named.get("max_tokens", 32),
            cache=tmp_path,
            precision=named.get("precision", "fp32"),
            overlong=named.get("overlong", "truncate_prompt"),
        )

    return call


@pytest.mark.parametrize(
    ("facts", "given", "max_tokens", "overlong", "told"),
    [
        (None, {}, 512, "truncate_prompt", ()),
        (ModelFacts(), {"max_tokens": 40}, 40, "truncate_prompt", ()),
        (ModelFacts(max_tokens=96, overlong="drop"), {}, 96, "drop", ()),
        (ModelFacts(max_tokens=96), {"max_tokens": 96}, 96, "truncate_prompt", ()),
        (
            ModelFacts(max_tokens=96, overlong="drop"),
            {"max_tokens": 40},
            40,
            "drop",
            ("max_tokens 96 .*, but 40 is set",),
        ),
        (
            ModelFacts(max_tokens=96, overlong="drop"),
            {"max_tokens": 512, "overlong": "truncate_left"},
            512,
            "truncate_left",
            ("max_tokens 96 .*, but 512 is set", "overlong drop .*, but truncate_left is set"),
        ),
    ],
)
def test_texts_are_encoded_as_the_model_was_trained_unless_it_is_set(
    tiny_bert, recwarn, facts, given, max_tokens, overlong, told
):
    encoder = encoder_of(replace(tiny_bert, facts=facts), EncoderConfig(**given))
    assert encoder == EncoderConfig(max_tokens=max_tokens, overlong=overlong)
    assert len(recwarn) == len(told)
    for warning, words in zip(recwarn, told, strict=True):
        assert re.search(words, str(warning.message))


def test_each_country_has_its_own_arrays(steer, tiny_bert):
    steered = steer(["B", "A"])
    assert list(steered.countries) == ["B", "A"]
    for name, data in steered.countries.items():
        assert {user.split("-")[0] for user in data.user} == {name}
        assert set(data.part) == {"train", "validation", "test"}
        assert all(
            steered.split[user] == part
            for user, part in zip(data.user.tolist(), data.part.tolist(), strict=True)
        )
        own = score_texts(tiny_bert, data.texts, np.arange(len(data.texts)), precision="fp32")
        np.testing.assert_allclose(data.reference, own, atol=1e-5)
    assert {user.split("-")[0] for user in steered.split} == {"A", "B"}


def test_a_country_alone_is_as_it_is_among_others(steer):
    together, alone = steer(["A", "B"]), steer(["A"])
    assert together.scoring.num_scored > 0
    assert alone.scoring.num_scored == 0
    first, second = together.countries["A"], alone.countries["A"]
    assert np.array_equal(first.part, second.part)
    assert np.array_equal(first.reference, second.reference)
    assert np.array_equal(first.texts.ids, second.texts.ids)


def test_other_settings_are_scored_anew(steer):
    steer(["A"])
    assert steer(["A"]).scoring.num_scored == 0
    assert steer(["A"], max_tokens=16).scoring.num_scored > 0
    assert steer(["A"], precision="bf16").scoring.num_scored > 0


def test_the_policy_for_overlong_texts_reaches_tokens_pairs_and_cache(steer):
    cut = steer(["A"], max_tokens=8).countries["A"]
    assert cut.num_truncated > 0
    assert cut.num_overlong == 0
    dropped = steer(["A"], max_tokens=8, overlong="drop").countries["A"]
    assert dropped.num_truncated == cut.num_truncated
    assert len(dropped.pairs) + dropped.num_overlong + dropped.num_identical == (
        len(cut.pairs) + cut.num_identical
    )
    assert not dropped.texts.overlong[dropped.pairs.chosen].any()
    assert not dropped.texts.overlong[dropped.pairs.rejected].any()
    left = steer(["A"], max_tokens=8, overlong="truncate_left")
    assert left.scoring.num_scored > 0  # the same texts, but other tokens
    assert not np.array_equal(left.countries["A"].texts.ids, cut.texts.ids)
    assert steer(["A"], max_tokens=8, overlong="truncate_left").scoring.num_scored == 0


def test_tokens_come_from_the_store_the_second_time(steer, tmp_path, monkeypatch):
    first = steer(["A", "B"])
    assert len(list((tmp_path / "tokens").glob("*.arrow"))) == 1
    monkeypatch.setattr("scpo.tokens.token_store.encode_texts", None)
    second = steer(["A", "B"])
    for name, data in first.countries.items():
        assert np.array_equal(data.texts.ids, second.countries[name].texts.ids)


def test_absent_and_small_countries_are_refused(steer):
    with pytest.raises(ValueError, match=r"No interactions of X; there are some of A, B, C\."):
        steer(["A", "X"])
    with pytest.raises(ValueError, match="C"):
        steer(["A", "C"])  # 3 users


def test_folds_test_every_user_once(interactions):
    table = interactions(users={"A": 11, "B": 7})
    tested = []
    for fold in range(3):
        split = SplitConfig(folds=3, fold=fold)
        parts = divide_users(table, ["A", "B"], split)
        assert set(parts.values()) == {"train", "validation", "test"}
        tested += [user for user, part in parts.items() if part == "test"]
    assert sorted(tested) == sorted(set(table["user_id"].to_pylist()))
