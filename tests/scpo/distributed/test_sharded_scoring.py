"""Scoring whose workers share each weight gives the rewards and features of one device."""

import numpy as np
import pytest

from scpo.countries.features import compute_features
from scpo.countries.reference_cache import cache_folder, text_keys
from scpo.countries.scoring import score_texts
from scpo.distributed.sharded_scoring import features_sharded, score_sharded
from scpo.distributed.worker_group import WorkerGroup
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash


@pytest.mark.exhaustive
def test_sharded_rewards_are_those_of_one_device_and_are_kept(
    cluster, model_folder, training_set, tmp_path
):
    model, texts = model_folder("bert"), training_set(num_interactions=4).texts
    keys = text_keys([f"prompt {n}" for n in range(len(texts))], ["response"] * len(texts))
    folder = cache_folder(tmp_path, model_hash=content_hash(model), max_tokens=9, precision="fp32")
    group, storage = WorkerGroup(2, zero_stage=3), tmp_path / "ray"

    def score():
        return score_sharded(
            model, texts, keys, folder, group=group, storage=storage, precision="fp32"
        )

    report = score()
    which = np.arange(len(texts))
    alone = score_texts(load_reward_model(str(model)), texts, which, precision="fp32")
    np.testing.assert_allclose(report.rewards, alone, atol=1e-5, rtol=0)
    assert (report.num_scored, report.num_cached) == (len(texts), 0)
    again = score()
    assert (again.num_scored, again.num_cached) == (0, len(texts))
    np.testing.assert_array_equal(again.rewards, report.rewards)


@pytest.mark.exhaustive
@pytest.mark.parametrize("pooling", ["mean", "head"])
def test_sharded_features_are_those_of_one_device(
    cluster, model_folder, training_set, tmp_path, pooling
):
    model, texts = model_folder("bert"), training_set(num_interactions=4).texts
    which = np.arange(len(texts))[::-1]
    features = features_sharded(
        model,
        texts,
        which,
        group=WorkerGroup(2, zero_stage=3),
        storage=tmp_path / "ray",
        pooling=pooling,
        precision="fp32",
    )
    reward = load_reward_model(str(model))
    alone = compute_features(reward, texts, which, pooling=pooling, precision="fp32")
    np.testing.assert_allclose(features, alone, atol=1e-5, rtol=0)
