"""Heads begin as the global model, exactly, whatever the pooling."""

import numpy as np
import pyarrow as pa
import pytest

from scpo.countries.country_data import build_country
from scpo.countries.features import KeptFeatures
from scpo.countries.pooling import reward_head
from scpo.countries.scoring import score_texts
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.heads.linear_heads import head_margins
from scpo.models.loading import load_reward_model
from scpo.tokens.encoding import encode_texts
from sweeps.probe.probed_pairs import FeatureStore, probe_pairs


@pytest.fixture(scope="module")
def reward(tiny_backbone):
    return load_reward_model(tiny_backbone, new_head=True)


@pytest.fixture(scope="module")
def data(reward):
    rows = [
        {
            "interaction_id": f"i{number}",
            "user_id": f"u{number}",
            "country": "Chile",
            "prompt": "what should i say",
            "responses": ["i would ask", "say no", "it is good to say it"],
            "scores": [3.0, 1.0, 2.0],
            "turn": 0,
        }
        for number in range(2)
    ]
    table = pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)
    prompts = ["what should i say"] * 6
    texts = encode_texts(reward.tokenizer, prompts, rows[0]["responses"] * 2, max_tokens=32)
    reference = score_texts(reward, texts, np.arange(6), precision="fp32")
    return build_country("Chile", table, {"u0": "train", "u1": "train"}, texts, reference)


@pytest.mark.parametrize("pooling", ["mean", "head"])
def test_a_head_that_did_not_move_is_the_global_model(pooling, reward, data, tmp_path):
    store = FeatureStore(reward, KeptFeatures(tmp_path / pooling, pooling), "fp32", None)
    which = np.array([4, 0, 2])
    said: list[str] = []
    pairs = probe_pairs(store, data, which, said.append)
    margin = data.reference_margin[which]
    unmoved = head_margins(np.zeros(pairs.differences.shape[1]), pairs)
    if pooling == "mean":
        np.testing.assert_array_equal(unmoved, margin)
    else:
        np.testing.assert_allclose(unmoved, margin, atol=1e-5)
    np.testing.assert_array_equal(pairs.reference_margin, margin)
    assert np.abs(pairs.differences).max() > 1e-6


def test_a_mean_pooled_head_adds_to_the_global_model_s_rewards(reward, data, tmp_path):
    store = FeatureStore(reward, KeptFeatures(tmp_path, "mean"), "fp32", None)
    pairs = probe_pairs(store, data, np.arange(3), lambda _: None)
    weight = reward_head(reward).weight[0].detach().numpy()
    made = head_margins(weight, pairs) - data.reference_margin[:3]
    np.testing.assert_allclose(made, pairs.differences @ weight, atol=1e-5)
