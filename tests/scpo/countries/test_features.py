import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scpo.countries import scoring
from scpo.countries.features import (
    KeptFeatures,
    compute_features,
    features_folder,
    features_with_cache,
    read_features,
    token_keys,
)
from scpo.countries.pooling import reward_head
from scpo.countries.reference_cache import score_with_cache
from scpo.files.atomic import hash_file
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import encode_texts

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(30)]
RESPONSES = [("good ", "bad ", "fine ")[number % 3] + "h " * (number // 8) for number in range(30)]
ALL = np.arange(30)


def encode(reward: LoadedModel):
    return encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=40)


@pytest.fixture
def texts(tiny_bert):
    return encode(tiny_bert)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("scpo.countries.reference_cache.PART_TEXTS", 8)


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.arrow"))


def test_features_come_in_the_order_asked_for_with_dropout_off(tiny_bert, texts, monkeypatch):
    tiny_bert.model.train()
    everything = compute_features(tiny_bert, texts, ALL, precision="fp32", pooling="head")
    which = np.array([7, 3, 19, 3])
    monkeypatch.setattr(scoring, "forward_tokens", lambda device: (0, 24))
    some = compute_features(tiny_bert, texts, which, precision="fp32", pooling="head")
    np.testing.assert_allclose(some, everything[which], atol=1e-5)
    assert not reward_head(tiny_bert)._forward_pre_hooks


def test_the_second_call_computes_nothing(tiny_bert, texts, tmp_path, small_parts):
    first = features_with_cache(tiny_bert, texts, ALL, tmp_path, precision="fp32", pooling="head")
    assert (first.num_computed, first.num_cached, first.num_quarantined) == (30, 0, 0)
    assert len(parts(tmp_path)) == 4
    again = features_with_cache(None, texts, ALL[::-1], tmp_path, pooling="head")
    assert (again.num_computed, again.num_cached) == (0, 30)
    np.testing.assert_array_equal(again.features, first.features[::-1])


def test_equal_texts_are_read_once_and_only_new_ones_later(tiny_bert, texts, tmp_path):
    features_with_cache(tiny_bert, texts, np.arange(10), tmp_path, pooling="head")
    doubled = np.concatenate([ALL, ALL])
    report = features_with_cache(tiny_bert, texts, doubled, tmp_path, pooling="head")
    assert (report.num_computed, report.num_cached) == (20, 10)
    np.testing.assert_array_equal(report.features[:30], report.features[30:])


def test_a_damaged_part_is_moved_aside_and_computed_again(tiny_bert, texts, tmp_path, small_parts):
    first = features_with_cache(tiny_bert, texts, ALL, tmp_path, precision="fp32", pooling="head")
    damaged = parts(tmp_path)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    again = features_with_cache(tiny_bert, texts, ALL, tmp_path, precision="fp32", pooling="head")
    assert again.num_quarantined == 1
    assert 6 <= again.num_computed <= 8
    np.testing.assert_allclose(again.features, first.features, atol=1e-5)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [damaged.name]
    assert read_features(tmp_path)[1] == 0


def test_parts_carry_the_hash_of_their_bytes(tiny_bert, texts, tmp_path):
    features_with_cache(tiny_bert, texts, ALL, tmp_path / "deep", pooling="head")
    [part] = (tmp_path / "deep").iterdir()
    assert part.name == f"part-{hash_file(part)[:16]}.arrow"


@pytest.mark.parametrize("pooling", ["head", "mean"])
def test_the_pass_that_scores_keeps_the_features(tiny_bert, texts, tmp_path, small_parts, pooling):
    kept = KeptFeatures(tmp_path / "features", pooling)
    keys = [str(number) for number in ALL]
    report = score_with_cache(
        tiny_bert, texts, keys, tmp_path / "rewards", precision="fp32", score=kept.score
    )
    alone = scoring.score_texts(tiny_bert, texts, ALL, precision="fp32")
    np.testing.assert_array_equal(report.rewards, alone)
    found = features_with_cache(None, texts, ALL, kept.folder, pooling=pooling)
    assert (found.num_computed, found.num_cached) == (0, 30)
    expected = compute_features(tiny_bert, texts, ALL, precision="fp32", pooling=pooling)
    np.testing.assert_allclose(found.features, expected, atol=1e-6)


def test_a_model_without_such_features_is_scored_all_the_same(
    tiny_bert, texts, tmp_path, monkeypatch
):
    monkeypatch.setattr("scpo.countries.pooling._TOLERANCE", -1.0)  # no head makes these rewards
    kept = KeptFeatures(tmp_path / "features", "head")
    rewards = kept.score(tiny_bert, texts, ALL, precision="fp32")
    np.testing.assert_array_equal(
        rewards, scoring.score_texts(tiny_bert, texts, ALL, precision="fp32")
    )
    assert not kept.folder.exists()


def test_keys_are_of_tokens_and_types(texts):
    keys = token_keys(texts, ALL)
    assert len(set(keys)) == 30
    assert token_keys(texts.take(ALL[::-1]), ALL) == keys[::-1]
    texts.types[texts.offsets[4]] += 1
    changed = token_keys(texts, ALL)
    assert [a == b for a, b in zip(keys, changed, strict=True)] == [n != 4 for n in range(30)]


def test_every_model_pooling_and_precision_has_its_own_folder(tmp_path):
    usual = {"model_hash": "a", "precision": "fp32", "pooling": "mean"}
    changes = ({}, {"model_hash": "b"}, {"precision": "bf16"}, {"pooling": "head"})
    folders = {features_folder(tmp_path, **(usual | change)) for change in changes}
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {tmp_path / "features"}


def test_features_that_are_not_finite_stop_and_are_not_cached(tiny_bert, texts, tmp_path):
    with torch.no_grad():
        tiny_bert.model.bert.pooler.dense.bias.fill_(math.nan)
    with pytest.raises(RuntimeError, match=r"^Rewards must be finite, but 30 of 30 texts"):
        features_with_cache(tiny_bert, texts, ALL, tmp_path, pooling="head")
    assert parts(tmp_path) == []
