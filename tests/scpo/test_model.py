import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from scpo.encoding import encode_texts, pad_texts
from scpo.model import (
    compute_rewards,
    content_hash,
    load_reward_model,
    resolve_model,
    save_reward_model,
    takes_token_types,
)
from scpo.scoring import score_texts

KINDS = ("bert", "deberta", "llama", "qwen2")
HEADS = {"bert": "classifier", "deberta": "classifier", "llama": "score", "qwen2": "score"}
PROMPTS = ["a b c", "d", "e f g h a b c d e", "a", "b b", "c d e", "f", "g h"]
RESPONSES = ["good", "bad bad fine", "h", "long short warm cold a b", "fine", "a", "b c", "good"]


def encode(reward):
    return encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=32)


def score(reward, which=None, **named):
    texts = encode(reward)
    which = np.arange(len(texts)) if which is None else np.asarray(which)
    return score_texts(reward, texts, which, precision="fp32", **named)


def edit_weights(folder, out, change):
    """Copy a model, its tensors changed."""
    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    save_file(change(tensors), out / "model.safetensors", metadata={"format": "pt"})
    return out


def without(prefix):
    return lambda tensors: {name: t for name, t in tensors.items() if not name.startswith(prefix)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_model_scores_the_same(model_folder, tmp_path, kind):
    reward = load_reward_model(str(model_folder(kind)))
    rewards = score(reward)
    assert np.ptp(rewards) > 0.01
    assert not reward.model.training
    assert {parameter.dtype for parameter in reward.model.parameters()} == {torch.float32}
    state = {name: tensor.clone() for name, tensor in reward.model.state_dict().items()}
    whole = save_reward_model(reward, tmp_path / "whole")
    gathered = save_reward_model(reward, tmp_path / "deep" / "gathered", state)
    for folder in (whole, gathered):
        again = load_reward_model(str(folder))
        np.testing.assert_allclose(score(again), rewards, atol=1e-6, rtol=0)
        assert again.tokenizer.chat_template == reward.tokenizer.chat_template
        assert [path.name for path in folder.parent.glob(".*")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_alone_loads_it_and_agrees(model_folder, tmp_path, kind):
    """Scores are those of the plain class: rewards are a drop-in for anybody's code."""
    reward = load_reward_model(str(model_folder(kind)))
    folder = save_reward_model(reward, tmp_path / "out")
    plain, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = reward.tokenizer
    if tokenizer.chat_template:
        chats = [
            [{"role": "user", "content": x}, {"role": "assistant", "content": y}]
            for x, y in zip(PROMPTS, RESPONSES, strict=True)
        ]
        inputs = tokenizer.apply_chat_template(
            chats, padding=True, return_dict=True, return_tensors="pt"
        )
    else:
        inputs = tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = plain.eval()(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(score(reward), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_does_not_depend_on_its_batch(model_folder, kind):
    reward = load_reward_model(str(model_folder(kind)))
    texts = encode(reward)
    batch = pad_texts(
        texts,
        np.arange(8),
        pad_id=reward.tokenizer.pad_token_id,
        with_types=takes_token_types(reward),
        device=torch.device("cpu"),
    )
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        together = compute_rewards(reward.model, batch).numpy()
    alone = [score(reward, [number])[0] for number in range(8)]
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)
    for max_tokens in (1, 40, 4096):
        np.testing.assert_allclose(score(reward, max_tokens=max_tokens), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_head_is_refused_unless_asked_for(model_folder, tmp_path, kind):
    headless = edit_weights(model_folder(kind), tmp_path / "headless", without(HEADS[kind]))
    match = rf"checkpoint lacks {HEADS[kind]}\.\w+.*would be random.*scpo train-global --backbone"
    with pytest.raises(ValueError, match=match):
        load_reward_model(str(headless))
    first, again, other = (
        load_reward_model(str(headless), new_head=True, head_seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(score(first), score(again))
    assert np.abs(score(first) - score(other)).max() > 1e-4


def test_new_head_does_not_excuse_a_missing_backbone(model_folder, tmp_path):
    holed = edit_weights(model_folder("bert"), tmp_path / "holed", without("bert.encoder.layer.1"))
    with pytest.raises(ValueError, match=r"lacks bert\.encoder\.layer\.1.* \.\.\., so these"):
        load_reward_model(str(holed), new_head=True)


def test_two_outputs_are_refused_and_a_new_head_replaces_them(model_writer, tmp_path):
    folder = model_writer(tmp_path / "two", "bert", num_labels=2)
    with pytest.raises(ValueError, match="one output, but this one has 2"):
        load_reward_model(str(folder))
    first, again = (load_reward_model(str(folder), new_head=True, head_seed=1) for _ in range(2))
    assert first.model.config.num_labels == 1
    np.testing.assert_array_equal(score(first), score(again))
    assert score(first).shape == (8,)


def test_a_missing_padding_token_is_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("llama"), tmp_path / "padless")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"padding token must be set.*tokenizer_config\.json"):
        load_reward_model(str(folder))


def test_the_padding_of_the_tokenizer_is_the_model_s(model_folder, tmp_path):
    """A decoder reads the reward at the last token that is not padding."""
    folder = shutil.copytree(model_folder("llama"), tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    reward = load_reward_model(str(folder))
    assert reward.model.config.pad_token_id == 0
    np.testing.assert_allclose(
        score(reward), score(load_reward_model(str(model_folder("llama")))), atol=1e-6
    )


def test_pickled_weights_are_not_read(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "bin")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_reward_model(str(folder))


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no config\.json"):
        resolve_model(str(tmp_path / "empty"))
    for name in (str(tmp_path / "no"), "./no", "~/no", "plain", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=r"No model folder at .*owner/model"):
            resolve_model(name)
    monkeypatch.setattr("scpo.model.snapshot_download", _offline)
    with pytest.raises(FileNotFoundError, match="the hub did not give 'owner/model': offline"):
        resolve_model("owner/model", revision="abc")


def _offline(name, *, revision, allow_patterns):
    assert (name, revision) == ("owner/model", "abc")
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in allow_patterns)
    raise OSError("offline")


def test_a_saved_model_replaces_an_older_one(tiny_bert, tmp_path):
    out = tmp_path / "out"
    save_reward_model(tiny_bert, out)
    (out / "leftover.safetensors").write_bytes(b"old")
    first = content_hash(out := save_reward_model(tiny_bert, out))
    assert not (out / "leftover.safetensors").exists()
    with torch.no_grad():
        tiny_bert.model.classifier.bias += 1
    assert content_hash(save_reward_model(tiny_bert, out)) != first


def test_content_hash_sees_every_file_that_matters(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "model")
    first = content_hash(folder)
    assert content_hash(model_folder("bert")) == first  # the place does not count
    (folder / "README.md").write_text("words")
    assert content_hash(folder) == first
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        second = content_hash(folder)
        assert second != first
        first = second
    for name in ("model-00002-of-00002.safetensors", "chat_template.jinja", "modeling_x.py"):
        (folder / name).write_bytes(b"x")
        second = content_hash(folder)
        assert second != first
        first = second
    (folder / "modeling_x.py").rename(folder / "modeling_y.py")
    assert content_hash(folder) != first


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_stays_in_float32_under_autocast(model_folder, kind):
    reward = load_reward_model(str(model_folder(kind)))
    texts = encode(reward)
    batch = pad_texts(
        texts,
        np.arange(8),
        pad_id=0,
        with_types=takes_token_types(reward),
        device=torch.device("cpu"),
    )
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = reward.model(**batch).logits
    assert logits.dtype == torch.float32
    coarse = logits.bfloat16().float()
    assert (logits != coarse).any()  # finer than bfloat16, so fewer ties
    np.testing.assert_allclose(logits[:, 0].numpy(), score(reward), atol=0.15)


def test_token_types_go_to_models_that_read_them(model_folder):
    assert takes_token_types(load_reward_model(str(model_folder("bert"))))
    assert not takes_token_types(load_reward_model(str(model_folder("llama"))))


def test_loading_leaves_the_random_state_of_others_alone(model_folder):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_reward_model(str(model_folder("bert")))
    assert torch.equal(torch.rand(3), expected)
