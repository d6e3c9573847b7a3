"""A global model that is trained and that scores in a sharded lane is the one of one device."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scpo.config import parse_config
from scpo.models.loading import load_reward_model
from sweeps.config import SweepConfig
from sweeps.run.inputs import prepare_all


@pytest.mark.exhaustive
def test_a_global_model_of_sharded_lanes_gives_the_rewards_of_one_device(
    cluster: None, tiny_backbone: Path, tmp_path: Path
) -> None:
    prepared = {}
    for name, lanes in (("one", {}), ("two", {"workers": 2, "zero_stage": 3})):
        raw: dict[str, Any] = {
            "name": name,
            "countries": ["Arvandia"],
            "data": {
                "source": "synthetic",
                "synthetic": {
                    "num_countries": 2,
                    "users_per_country": 8,
                    "interactions_per_user": 1,
                },
            },
            "global_model": {"backbone": str(tiny_backbone), "learning_rate": 1e-3},
            "encoder": {"max_tokens": 96},
            "training": {
                "pairs_per_step": 12,
                "precision": "fp32",
                "centring": 0.05,  # without it only rounding moves the head's bias
            },
            "lanes": lanes,
            "cache": str(tmp_path / f"cache-{name}"),
        }
        run = tmp_path / name
        prepared[name] = prepare_all(parse_config(SweepConfig, raw, "test"), run, print)
    (_, one), (model, two) = prepared["one"], prepared["two"]
    np.testing.assert_allclose(two.scoring.rewards, one.scoring.rewards, atol=1e-4)
    assert two.scoring.num_scored == one.scoring.num_scored
    load_reward_model(model)
    told = [json.loads((tmp_path / name / "global.json").read_text()) for name in ("one", "two")]
    assert told[0]["pairs"] == told[1]["pairs"]
    assert told[0]["steps"] == told[1]["steps"]
    assert told[0]["held_out"] == told[1]["held_out"]
