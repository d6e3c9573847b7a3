import math

import numpy as np
import pytest
import torch

from scpo.countries.reference_cache import cache_folder, read_cache, score_with_cache, text_keys
from scpo.files.atomic import hash_file
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash
from scpo.tokens.encoding import encode_texts

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(30)]
RESPONSES = [("good ", "bad ", "fine ")[number % 3] + "h " * (number // 8) for number in range(30)]


@pytest.fixture
def keys():
    return text_keys(PROMPTS, RESPONSES)


@pytest.fixture
def texts(pair_tokenizer):
    return encode_texts(pair_tokenizer, PROMPTS, RESPONSES, max_tokens=32)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr("scpo.countries.reference_cache.PART_TEXTS", 8)


def parts(folder):
    return sorted(folder.glob("part-*.parquet"))


def test_the_second_call_scores_nothing(tiny_bert, texts, keys, tmp_path, small_parts):
    first = score_with_cache(tiny_bert, texts, keys, tmp_path, precision="fp32")
    assert (first.num_scored, first.num_cached, first.num_quarantined) == (30, 0, 0)
    assert len(parts(tmp_path)) == 4
    again = score_with_cache(None, texts, keys, tmp_path)
    assert (again.num_scored, again.num_cached, again.num_quarantined) == (0, 30, 0)
    np.testing.assert_array_equal(again.rewards, first.rewards)
    order = np.arange(29, -1, -1)
    backwards = score_with_cache(None, texts.take(order), keys[::-1], tmp_path)
    np.testing.assert_array_equal(backwards.rewards, first.rewards[::-1])


def test_rewards_are_the_model_s(tiny_bert, texts, keys, tmp_path, model_folder):
    cached = score_with_cache(tiny_bert, texts, keys, tmp_path, precision="fp32").rewards
    reward = load_reward_model(str(model_folder("bert")))
    inputs = reward.tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = reward.model(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(cached, expected, atol=1e-5)


def test_equal_texts_are_scored_once(tiny_bert, texts, keys, tmp_path):
    doubled = texts.take(np.arange(60) % 30)
    report = score_with_cache(tiny_bert, doubled, keys + keys, tmp_path)
    assert (report.num_scored, report.num_cached) == (30, 0)
    np.testing.assert_array_equal(report.rewards[:30], report.rewards[30:])


def test_only_new_texts_are_scored(tiny_bert, texts, keys, tmp_path):
    score_with_cache(tiny_bert, texts.take(np.arange(10)), keys[:10], tmp_path)
    report = score_with_cache(tiny_bert, texts, keys, tmp_path)
    assert (report.num_scored, report.num_cached) == (20, 10)


def test_a_damaged_part_is_moved_aside_and_scored_again(
    tiny_bert, texts, keys, tmp_path, small_parts
):
    first = score_with_cache(tiny_bert, texts, keys, tmp_path, precision="fp32")
    damaged = parts(tmp_path)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    again = score_with_cache(tiny_bert, texts, keys, tmp_path, precision="fp32")
    assert again.num_quarantined == 1
    assert 6 <= again.num_scored <= 8  # the last part of 30 holds 6
    assert again.num_scored + again.num_cached == 30
    np.testing.assert_allclose(again.rewards, first.rewards, atol=1e-5)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [damaged.name]
    assert score_with_cache(None, texts, keys, tmp_path).num_quarantined == 0


@pytest.mark.parametrize("content", [b"", b"PAR1"])
def test_a_cut_off_part_is_moved_aside(tiny_bert, texts, keys, tmp_path, content):
    score_with_cache(tiny_bert, texts, keys, tmp_path)
    parts(tmp_path)[0].write_bytes(content)
    known, num_quarantined = read_cache(tmp_path)
    assert (known, num_quarantined) == ({}, 1)


def test_an_interrupted_scoring_goes_on(tiny_bert, texts, keys, tmp_path, small_parts):
    calls = []

    def stop_after_two(module, inputs, named):
        calls.append(0)
        if len(parts(tmp_path)) == 2:
            raise KeyboardInterrupt

    handle = tiny_bert.model.register_forward_pre_hook(stop_after_two, with_kwargs=True)
    with pytest.raises(KeyboardInterrupt):
        score_with_cache(tiny_bert, texts, keys, tmp_path)
    handle.remove()
    assert len(parts(tmp_path)) == 2
    report = score_with_cache(tiny_bert, texts, keys, tmp_path)
    assert (report.num_scored, report.num_cached) == (14, 16)
    parts(tmp_path)[0].unlink()
    report = score_with_cache(tiny_bert, texts, keys, tmp_path)
    assert report.num_scored in (6, 8)


def test_parts_carry_the_hash_of_their_bytes_and_leave_nothing_else(
    tiny_bert, texts, keys, tmp_path
):
    score_with_cache(tiny_bert, texts, keys, tmp_path / "deep" / "er")
    [part] = (tmp_path / "deep" / "er").iterdir()
    assert part.name == f"part-{hash_file(part)[:16]}.parquet"


def test_a_reward_that_is_not_finite_is_not_cached(tiny_bert, texts, keys, tmp_path):
    with torch.no_grad():
        tiny_bert.model.classifier.bias.fill_(math.inf)
    with pytest.raises(RuntimeError, match="Rewards must be finite"):
        score_with_cache(tiny_bert, texts, keys, tmp_path)
    assert parts(tmp_path) == []


def test_every_setting_has_its_own_folder(tmp_path, model_folder):
    usual = {"model_hash": "a", "max_tokens": 64, "precision": "fp32"}
    changes = (
        {},
        {"model_hash": "b"},
        {"max_tokens": 65},
        {"precision": "bf16"},
        {"overlong": "drop"},
    )
    folders = {cache_folder(tmp_path, **(usual | change)) for change in changes}
    assert len(folders) == len(changes)
    assert cache_folder(tmp_path, **usual) in folders
    assert {folder.parent for folder in folders} == {tmp_path / "reference"}
    hashes = {content_hash(model_folder(kind)) for kind in ("bert", "llama")}
    assert len(hashes) == 2


def test_keys_tell_prompt_and_response_apart():
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), ("1:", "x"), ("", "1:x")]
    keys = text_keys(*map(list, zip(*pairs, strict=True)))
    assert len(set(keys)) == len(pairs)
    assert {len(key) for key in keys} == {32}
    assert text_keys(["é"], ["ü"]) == text_keys(["é"], ["ü"])
    with pytest.raises(ValueError, match="zip"):
        text_keys(["a"], [])
