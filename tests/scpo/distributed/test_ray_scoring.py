import json

import numpy as np
import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group

from scpo.choices import NODE_GROUP
from scpo.countries.features import KeptFeatures, features_with_cache
from scpo.countries.reference_cache import score_with_cache, text_keys
from scpo.countries.scoring import score_texts
from scpo.distributed.ray_scoring import _count_devices, score_on_ray
from scpo.models.loading import load_reward_model
from scpo.tokens.encoding import encode_texts
from tests.saved_model import save_reward_model

PROMPTS = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(60)]
RESPONSES = [("good ", "bad ", "fine ")[number % 3] + "h " * (number // 4) for number in range(60)]
SHARD_TEXTS = 8

# A checkpoint whose own code writes down every forward, and can be told to die in one.
MORTAL_BERT = """
import os
import signal
from pathlib import Path

from transformers import BertForSequenceClassification


class MortalBert(BertForSequenceClassification):
    num_forwards = 0

    def forward(self, input_ids=None, **named):
        folder = Path(self.config.journal)
        with (folder / "forwards").open("a") as journal:
            journal.write(f"{os.getpid()} {len(input_ids)}\\n")
        MortalBert.num_forwards += 1
        if MortalBert.num_forwards == 3 and self.may_die(folder):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(input_ids=input_ids, **named)

    def may_die(self, folder):
        try:
            (folder / f"death-{len(list(folder.glob('death-*')))}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return len(list(folder.glob("death-*"))) <= self.config.num_deaths
"""


@pytest.fixture
def texts(pair_tokenizer):
    return encode_texts(pair_tokenizer, PROMPTS, RESPONSES, max_tokens=32)


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setattr("scpo.countries.reference_cache.PART_TEXTS", SHARD_TEXTS)
    return text_keys(PROMPTS, RESPONSES)


@pytest.fixture
def mortal_folder(model_writer, tmp_path):
    """Writes the folder of a model that journals its forwards and dies `num_deaths` times."""

    def write(num_deaths):
        folder = model_writer(tmp_path / "mortal", "bert")
        (folder / "modeling_mortal.py").write_text(MORTAL_BERT)
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_mortal.MortalBert"}
        config |= {"journal": str(tmp_path), "num_deaths": num_deaths}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write


def expected_rewards(folder, texts):
    reward = load_reward_model(str(folder))
    return score_texts(reward, texts, np.arange(len(texts)), precision="fp32")


@pytest.mark.slow
def test_rewards_are_those_of_one_device_and_are_kept_whoever_dies(
    cluster, mortal_folder, model_folder, texts, keys, tmp_path, monkeypatch
):
    """On two workers, of which one is killed once: it costs at most its shard."""
    mortal, tmp_path = mortal_folder(num_deaths=1), tmp_path / "cache"
    exact = {"precision": "fp32", "trust_remote_code": True}
    kept = KeptFeatures(tmp_path / "features", "mean")
    report = score_on_ray(mortal, texts, keys, tmp_path, kept=kept, **exact)
    found = features_with_cache(None, texts, np.arange(60), kept.folder, pooling="mean")
    assert (found.num_computed, found.num_cached) == (0, 60)
    np.testing.assert_allclose(
        report.rewards, expected_rewards(model_folder("bert"), texts), atol=1e-5
    )
    assert (report.num_scored, report.num_cached, report.num_quarantined) == (60, 0, 0)
    assert len(list(tmp_path.glob("part-*.parquet"))) == 8
    assert (tmp_path.parent / "death-0").exists()
    journal = [line.split() for line in (tmp_path.parent / "forwards").read_text().splitlines()]
    assert len({process for process, _ in journal}) >= 2
    assert 60 < sum(int(count) for _, count in journal) <= 60 + SHARD_TEXTS

    damaged = sorted(tmp_path.glob("part-*.parquet"))[3]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = score_on_ray(mortal, texts, keys, tmp_path, **exact)
    assert again.num_quarantined == 1
    assert 4 <= again.num_scored <= 8  # the last shard of 60 holds 4
    assert again.num_scored + again.num_cached == 60
    np.testing.assert_allclose(again.rewards, report.rewards, atol=1e-5)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [damaged.name]

    monkeypatch.setattr(
        "scpo.distributed.ray_scoring.start_ray", lambda: pytest.fail("nothing to score")
    )
    third = score_on_ray(tmp_path / "none", texts, keys, tmp_path)
    assert (third.num_scored, third.num_cached, third.num_quarantined) == (0, 60, 0)
    np.testing.assert_array_equal(third.rewards, again.rewards)
    alone = score_with_cache(None, texts, keys, tmp_path)
    np.testing.assert_array_equal(alone.rewards, again.rewards)


@pytest.mark.exhaustive
def test_a_worker_that_always_dies_ends_the_call(
    cluster, mortal_folder, texts, keys, tmp_path, monkeypatch
):
    monkeypatch.setattr("scpo.distributed.ray_scoring._MAX_RESTARTS", 0)
    with pytest.raises(RuntimeError, match=r"(?s)A scoring worker died more than 0 times .*again"):
        score_on_ray(
            mortal_folder(num_deaths=9),
            texts,
            keys,
            tmp_path / "cache",
            workers=1,
            trust_remote_code=True,
        )


@pytest.mark.slow
def test_an_error_of_the_model_ends_the_call(cluster, model_folder, texts, keys, tmp_path):
    broken = load_reward_model(str(model_folder("bert")))
    with torch.no_grad():
        broken.model.classifier.bias.fill_(float("nan"))
    save_reward_model(broken, tmp_path / "model")
    with pytest.raises(RuntimeError, match=r"^Rewards must be finite, but 8 of 8 texts"):
        score_on_ray(tmp_path / "model", texts, keys, tmp_path / "cache", workers=1)
    assert not (tmp_path / "cache").exists()


def test_a_model_that_is_not_there_ends_the_call(texts, keys, tmp_path, monkeypatch):
    monkeypatch.setattr("scpo.distributed.ray_scoring.start_ray", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(FileNotFoundError, match=r"^No model folder at .*none"):
        score_on_ray(tmp_path / "none", texts, keys, tmp_path / "cache", workers=1)


@pytest.mark.parametrize("workers", [0, -2])
def test_less_than_one_worker_is_refused(texts, keys, tmp_path, workers):
    with pytest.raises(ValueError, match=rf"`workers >= 1` must hold, but got {workers}\."):
        score_on_ray(tmp_path, texts, keys, tmp_path / "cache", workers=workers)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"workers": 3}, r"3 workers need as many CPUs, but the cluster has 2\. Ask for fewer"),
        ({"use_gpu": True}, r"1 workers need as many GPUs, but the cluster has 0\."),
        ({"use_gpu": True, "workers": 2}, r"2 workers need as many GPUs, but the cluster has 0\."),
    ],
)
def test_more_workers_than_devices_are_refused(texts, keys, tmp_path, monkeypatch, named, message):
    monkeypatch.setattr("scpo.distributed.ray_scoring.start_ray", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "nodes", list)
    with pytest.raises(RuntimeError, match=message):
        score_on_ray(tmp_path, texts, keys, tmp_path / "cache", **named)


@pytest.mark.parametrize(
    ("have", "workers", "expected"), [({}, None, 1), ({}, 3, 3), ({"GPU": 2.0}, None, 2)]
)
def test_a_cluster_that_can_grow_is_waited_for(monkeypatch, have, workers, expected):
    monkeypatch.setattr(ray, "cluster_resources", lambda: have)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Labels": {NODE_GROUP: "head"}}])
    assert _count_devices(workers, use_gpu=True) == expected


@pytest.mark.slow
def test_devices_that_stay_taken_end_the_call(
    cluster, model_folder, texts, keys, tmp_path, monkeypatch
):
    monkeypatch.setattr("scpo.distributed.ray_scoring.START_TIMEOUT_S", 1.0)
    taken = placement_group([{"CPU": 2}])
    try:
        ray.get(taken.ready())
        with pytest.raises(
            RuntimeError, match=r"No scoring worker started in 1 s\. It needs 0\.9"
        ):
            score_on_ray(model_folder("bert"), texts, keys, tmp_path / "cache")
    finally:
        remove_placement_group(taken)
