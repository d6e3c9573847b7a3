import copy
import json
import shutil
import sys

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from scpo.models.classifier import (
    compute_rewards,
    enable_activation_checkpointing,
    head_digest,
    plain_model,
)
from scpo.models.loading import load_reward_model
from scpo.models.lora import (
    add_lora,
    has_lora,
    head_modules,
    merge_lora,
    merge_state,
)
from scpo.models.reward_model import content_hash, quiet_peft, takes_token_types
from scpo.tokens.encoding import encode_texts, pad_texts
from tests.saved_model import save_reward_model

KINDS = ("bert", "deberta", "llama", "qwen2")
HEADS = {
    "bert": ["classifier"],
    "deberta": ["pooler", "classifier"],
    "llama": ["score"],
    "qwen2": ["score"],
}


def batch_of(reward):
    texts = encode_texts(
        reward.tokenizer, ["a b c", "d", "e f g h"], ["good", "bad fine", "h"], max_tokens=32
    )
    return pad_texts(
        texts,
        np.arange(3),
        pad_id=reward.tokenizer.pad_token_id,
        with_types=takes_token_types(reward),
        device=torch.device("cpu"),
    )


def rewards_of(reward):
    with torch.no_grad():
        return compute_rewards(reward.model, batch_of(reward))


def train(reward, steps=3):
    trained = [p for p in reward.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(steps):
        (compute_rewards(reward.model, batch_of(reward)) ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def make_trained(folder):
    torch.manual_seed(1)
    reward = add_lora(load_reward_model(str(folder)), rank=2, alpha=4.0)
    train(reward)
    return reward


def close(first, second, atol=1e-5):
    torch.testing.assert_close(first, second, atol=atol, rtol=0)


def test_an_update_is_alpha_over_rank_times_b_a(model_folder):
    reward = make_trained(model_folder("bert"))
    layer = reward.model.get_base_model().bert.encoder.layer[0].attention.self.query
    low, high = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer.weight + 4.0 / 2 * high @ low
    assert (expected - layer.base_layer.weight).abs().max() > 1e-3
    merged = merge_lora(reward).model
    close(merged.bert.encoder.layer[0].attention.self.query.weight, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_trains_updates_and_head_and_nothing_else(model_folder, kind):
    plain = load_reward_model(str(model_folder(kind)))
    assert head_modules(plain.model) == HEADS[kind]
    before, digest = rewards_of(plain), head_digest(plain.model)
    assert not has_lora(plain)
    torch.manual_seed(1)
    reward = add_lora(plain, rank=2, alpha=4.0)
    assert has_lora(reward)
    assert not reward.model.training
    close(rewards_of(reward), before, atol=1e-6)  # B starts at zero
    assert head_digest(reward.model) == digest
    trained = {n for n, p in reward.model.named_parameters() if p.requires_grad}
    for name in trained:
        assert "lora_A" in name or "lora_B" in name or ".modules_to_save.default." in name
        assert p_dtype(reward, name) == torch.float32
    for child in HEADS[kind]:
        assert any(f".{child}.modules_to_save.default." in name for name in trained)
        assert not any(f".{child}." in name and "lora" in name for name in trained)
    state = copy.deepcopy(reward.model.state_dict())
    train(reward)
    for name, tensor in reward.model.state_dict().items():
        assert torch.equal(tensor, state[name]) == (name not in trained), name
    assert head_digest(reward.model) != digest


def p_dtype(reward, name):
    return dict(reward.model.named_parameters())[name].dtype


@pytest.mark.parametrize("kind", KINDS)
def test_merged_and_adapter_folders_score_as_trained(model_folder, tmp_path, kind):
    reward = make_trained(model_folder(kind))
    plain = load_reward_model(str(model_folder(kind)))
    rewards = rewards_of(reward)
    assert (rewards - rewards_of(plain)).abs().max() > 0.05
    gathered = {name: p.detach().clone() for name, p in reward.model.named_parameters()}
    for name, state in (("live", None), ("gathered", gathered)):
        out = save_reward_model(reward, tmp_path / name, state)
        config = json.loads((out / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(model_folder(kind).resolve())
        assert (out / "adapter_model.safetensors").is_file()
        assert not list(out.glob("*.bin"))
        again = load_reward_model(str(out))
        close(rewards_of(again), rewards)
        assert head_digest(again.model) == head_digest(reward.model)
        assert {n for n, p in again.model.named_parameters() if p.requires_grad} == {
            n for n, p in reward.model.named_parameters() if p.requires_grad
        }
    of_state = merge_state(reward, gathered).model.state_dict()
    close(rewards_of(reward), rewards, atol=0)
    digest, inner = head_digest(reward.model), plain_model(reward.model)
    merged = merge_lora(reward)
    assert merged.model is inner
    close(rewards_of(merged), rewards)
    assert type(merged.model) is type(plain.model)
    assert merged.model.state_dict().keys() == plain.model.state_dict().keys()
    assert all(p.requires_grad for p in merged.model.parameters())
    assert head_digest(merged.model) == digest
    for name, tensor in merged.model.state_dict().items():
        close(of_state[name], tensor, atol=1e-6)
    add_lora(merged, rank=1, alpha=1.0)  # once more


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_head_is_float32_under_autocast(model_folder, kind):
    reward = make_trained(model_folder(kind))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = reward.model(**batch_of(reward)).logits
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any()


def test_the_seed_of_the_caller_draws_the_adapter(model_folder):
    first, again = (make_trained(model_folder("bert")) for _ in range(2))
    assert torch.equal(rewards_of(first), rewards_of(again))
    torch.manual_seed(2)
    other = add_lora(load_reward_model(str(model_folder("bert"))), rank=2, alpha=4.0)
    train(other)
    assert (rewards_of(other) - rewards_of(first)).abs().max() > 1e-4


def test_layers_are_updated_by_name(model_folder):
    reward = add_lora(
        load_reward_model(str(model_folder("bert"))),
        rank=2,
        alpha=4.0,
        target_modules=["query", "value"],
    )
    updated = {n for n, _ in reward.model.named_modules() if n.endswith("lora_A")}
    assert {name.split(".")[-2] for name in updated} == {"query", "value"}


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_checkpointed_layers_train_the_same_adapter(model_folder, kind):
    """Nothing before the first layer asks for a gradient; the layers do all the same."""
    reward = make_trained(model_folder(kind))
    other = copy.deepcopy(reward.model)
    enable_activation_checkpointing(other)
    for model in (reward.model, other):
        compute_rewards(model, batch_of(reward)).sum().backward()
    for first, second in zip(reward.model.parameters(), other.parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None)
        if first.grad is not None:
            close(first.grad, second.grad, atol=1e-6)


def test_a_backbone_with_a_new_head_needs_no_head_to_load_the_adapter(model_folder, tmp_path):
    headless = shutil.copytree(model_folder("deberta"), tmp_path / "headless")
    edit_tensors(headless / "model.safetensors", drop=("classifier.", "pooler."))
    torch.manual_seed(1)
    reward = load_reward_model(str(headless), new_head=True)
    reward = add_lora(reward, rank=2, alpha=4.0)
    train(reward)
    out = save_reward_model(reward, tmp_path / "out")
    close(rewards_of(load_reward_model(str(out))), rewards_of(reward))
    with pytest.raises(ValueError, match=r"new head needs a whole model.*this is an adapter"):
        load_reward_model(str(out), new_head=True)


def edit_tensors(file, *, drop):
    tensors = {n: t for n, t in load_file(file).items() if not any(d in n for d in drop)}
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("lost", ["classifier", "layer.1.output.dense.lora_B"])
def test_an_adapter_that_lacks_weights_is_refused(model_folder, tmp_path, lost):
    out = save_reward_model(make_trained(model_folder("bert")), tmp_path / "out")
    edit_tensors(out / "adapter_model.safetensors", drop=(lost,))
    with pytest.raises(ValueError, match=rf"the adapter lacks .*{lost}.*would be random"):
        load_reward_model(str(out))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_an_adapter_of_learned_tokens_is_refused(model_folder, tmp_path, kind):
    base = AutoModelForSequenceClassification.from_pretrained(model_folder(kind))
    config = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    with quiet_peft():
        peft.get_peft_model(base, config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must change weights.*but PROMPT_TUNING \(adapter_conf"):
        load_reward_model(str(tmp_path))


def test_pickled_adapters_are_not_read(model_folder, tmp_path):
    out = save_reward_model(make_trained(model_folder("bert")), tmp_path / "out")
    torch.save(load_file(out / "adapter_model.safetensors"), out / "adapter_model.bin")
    (out / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="pickled weights are not read"):
        load_reward_model(str(out))


def test_the_base_of_an_adapter_is_named_with_its_commit(model_folder, tmp_path, monkeypatch):
    commit = shutil.copytree(model_folder("llama"), tmp_path / "c0ffee")
    asked = []

    def resolve(name, revision):
        asked.append((name, revision))
        return "c0ffee"

    monkeypatch.setattr("scpo.models.model_source.resolve_commit", resolve)
    monkeypatch.setattr("scpo.models.model_source.download_model", lambda *_: commit)
    torch.manual_seed(1)
    reward = add_lora(load_reward_model("owner/model"), rank=2, alpha=4.0)
    train(reward)
    out = save_reward_model(reward, tmp_path / "out")
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/model", "c0ffee")
    again = load_reward_model(str(out))
    assert asked == [("owner/model", None), ("owner/model", "c0ffee")]
    close(rewards_of(again), rewards_of(reward))
    twice = save_reward_model(again, tmp_path / "twice")
    assert json.loads((twice / "adapter_config.json").read_text())["revision"] == "c0ffee"
    first = content_hash(out)
    (commit / "config.json").write_text((commit / "config.json").read_text() + "\n")
    assert content_hash(out) != first  # the base counts


def test_values_that_cannot_be_are_refused(tiny_bert):
    for named, match in (
        ({"rank": 0, "alpha": 1.0}, "`rank >= 1` must hold, but got rank=0"),
        ({"rank": 1, "alpha": 0.0}, r"`alpha > 0` must hold, but got alpha=0\.0"),
        ({"rank": 1, "alpha": float("nan")}, "alpha=nan"),
        ({"rank": 1, "alpha": 1.0, "target_modules": ["no"]}, "linear layers: dense, key, query"),
    ):
        with pytest.raises(ValueError, match=match):
            add_lora(tiny_bert, **named)
    with pytest.raises(ValueError, match="with an adapter is needed, but got one without"):
        merge_lora(tiny_bert)
    reward = add_lora(tiny_bert, rank=1, alpha=1.0)
    with pytest.raises(ValueError, match=r"an adapter already\. Merge it first"):
        add_lora(reward, rank=1, alpha=1.0)
    state = {n: p for n, p in reward.model.named_parameters() if p.requires_grad}
    with pytest.raises(ValueError, match="state is needed to merge, but it lacks base_model"):
        merge_state(reward, state)


def test_without_peft_only_adapters_fail(model_folder, tmp_path, monkeypatch, tiny_bert):
    out = save_reward_model(make_trained(model_folder("bert")), tmp_path / "out")
    monkeypatch.setitem(sys.modules, "peft", None)
    match = r"LoRA needs peft: pip install 'scpo\[lora\]'"
    with pytest.raises(RuntimeError, match=match):
        add_lora(tiny_bert, rank=1, alpha=1.0)
    with pytest.raises(RuntimeError, match=match):
        load_reward_model(str(out))
    assert plain_model(tiny_bert.model) is tiny_bert.model
    assert not has_lora(tiny_bert)
    save_reward_model(tiny_bert, tmp_path / "plain")
