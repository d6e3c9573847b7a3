import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    OPTConfig,
    OPTForSequenceClassification,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from scpo.countries import scoring
from scpo.countries.scoring import score_texts
from scpo.files.atomic import MARKER, atomic_folder
from scpo.models.classifier import (
    adapt_classes,
    compute_rewards,
    enable_activation_checkpointing,
    head_digest,
    plain_model,
    takes_packed_rows,
)
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash, takes_token_types
from scpo.tokens.encoding import encode_texts, pad_texts
from tests.saved_model import save_reward_model

KINDS = ("bert", "deberta", "llama", "qwen2")
HEADS = {"bert": "classifier", "deberta": "classifier", "llama": "score", "qwen2": "score"}
PROMPTS = ["a b c", "d", "e f g h a b c d e", "a", "b b", "c d e", "f", "g h"]
RESPONSES = ["good", "bad bad fine", "h", "long short warm cold a b", "fine", "a", "b c", "good"]


def encode(reward):
    return encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=32)


def score(reward, which=None):
    texts = encode(reward)
    which = np.arange(len(texts)) if which is None else np.asarray(which)
    return score_texts(reward, texts, which, precision="fp32")


def pad(reward, which=None):
    texts = encode(reward)
    return pad_texts(
        texts,
        np.arange(len(texts)) if which is None else np.asarray(which),
        pad_id=reward.tokenizer.pad_token_id,
        with_types=takes_token_types(reward),
        device=torch.device("cpu"),
    )


def move_padding_left(batch):
    """The same rows, written out with the padding first."""
    lengths = batch["attention_mask"].sum(1).tolist()
    return {
        name: torch.stack(
            [torch.cat([row[n:], row[:n]]) for row, n in zip(rows, lengths, strict=True)]
        )
        for name, rows in batch.items()
    }


def rewards_of(model, batch):
    with torch.no_grad():
        return compute_rewards(model, batch).numpy()


def gradients_of(model, rewards):
    model.zero_grad()
    (rewards * torch.arange(1.0, 1 + rewards.numel()).view_as(rewards)).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


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
def test_a_score_does_not_depend_on_its_batch(model_folder, kind, monkeypatch):
    reward = load_reward_model(str(model_folder(kind)))
    batch = pad(reward)
    assert (batch["attention_mask"] == 0).any()
    alone = [score(reward, [number])[0] for number in range(8)]
    np.testing.assert_allclose(rewards_of(reward.model, batch), alone, atol=1e-5, rtol=0)
    left = move_padding_left(batch)
    assert not left["attention_mask"][:, 0].all()
    np.testing.assert_allclose(rewards_of(reward.model, left), alone, atol=1e-5, rtol=0)
    for limits in ((0, 1), (0, 40), (0, 4096)):
        monkeypatch.setattr(scoring, "forward_tokens", lambda device, limits=limits: limits)
        np.testing.assert_allclose(score(reward), alone, atol=1e-5, rtol=0)


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


def test_a_saved_model_replaces_an_older_one(tiny_bert, tmp_path):
    out = tmp_path / "out"
    save_reward_model(tiny_bert, out)
    first = content_hash(out)
    (out / "mine.safetensors").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"holds mine\.safetensors, which no command wrote"):
        save_reward_model(tiny_bert, out)
    (out / "mine.safetensors").unlink()
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
    batch = pad(reward)
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_uses_its_own_head(model_folder, kind):
    reward = load_reward_model(str(model_folder(kind)))
    batch, before = pad(reward), score(reward)
    other = copy.deepcopy(reward.model)
    assert type(other).__name__ == type(reward.model).__name__
    assert isinstance(getattr(other, HEADS[kind]), torch.nn.Linear)
    with torch.no_grad():
        getattr(other, HEADS[kind]).weight.mul_(2)
        if kind in ("bert", "deberta"):
            getattr(other, HEADS[kind]).bias.mul_(2)
    np.testing.assert_allclose(rewards_of(other, batch), 2 * before, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(rewards_of(reward.model, batch), rewards_of(reward.model, batch))
    np.testing.assert_allclose(score(reward), before, atol=1e-6, rtol=0)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert other(**batch).logits.dtype == torch.float32


def test_padding_with_the_end_token_pools_the_token_before(model_folder, tmp_path):
    """Each text ends with <eos>; transformers scores the token before, whatever the padding."""
    for kind in ("llama", "qwen2"):
        folder = shutil.copytree(model_folder(kind), tmp_path / kind)
        edit_json(folder / "tokenizer_config.json", pad_token="<eos>")
        edit_json(folder / "config.json", pad_token_id=5)
        reward = load_reward_model(str(folder))
        assert reward.tokenizer.pad_token_id == reward.tokenizer.eos_token_id == 5
        plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        texts = encode(reward)
        ids = [torch.tensor([texts.tokens_of(number).tolist()]) for number in range(8)]
        with torch.no_grad():
            expected = np.array([float(plain(input_ids=each).logits) for each in ids])
        assert np.abs(expected - score(load_reward_model(str(model_folder(kind))))).max() > 1e-2
        np.testing.assert_allclose(score(reward), expected, atol=1e-5, rtol=0)
        for batch in (pad(reward), move_padding_left(pad(reward))):
            np.testing.assert_allclose(
                rewards_of(reward.model, batch), expected, atol=1e-5, rtol=0
            )
            with torch.no_grad():  # also without compute_rewards around it
                logits = reward.model(**batch).logits
            assert logits.shape == (8, 1)
            np.testing.assert_allclose(logits[:, 0].numpy(), expected, atol=1e-5, rtol=0)
        alone = {"input_ids": pad(reward, [0])["input_ids"]}
        np.testing.assert_allclose(rewards_of(reward.model, alone), expected[:1], atol=1e-5)


def test_an_encoder_reads_its_mask_where_the_padding_is_the_end(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("bert"), tmp_path / "same")
    edit_json(folder / "tokenizer_config.json", eos_token="[PAD]")
    expected = score(load_reward_model(str(model_folder("bert"))))
    np.testing.assert_allclose(score(load_reward_model(str(folder))), expected, atol=1e-6)


def pack(prompt, responses, width):
    """One row: the prompt, each response behind it; padding sees itself."""
    ids, position, segment = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    pool_at = []
    for number, response in enumerate(responses, 1):
        ids += response
        position += range(len(prompt), len(prompt) + len(response))
        segment += [number] * len(response)
        pool_at.append(len(ids) - 1)
    spare = width - len(ids)
    ids, position = ids + [0] * spare, position + [0] * spare
    segment += [-1] * spare
    mask = torch.zeros(width, width, dtype=torch.bool)
    for i in range(width):
        for j in range(i + 1):
            mask[i, j] = i == j or (segment[i] >= 0 and segment[j] in (0, segment[i]))
    return torch.tensor(ids), torch.tensor(position), mask[None], torch.tensor(pool_at)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_score_as_separate_texts(model_folder, kind, attention):
    reward = load_reward_model(str(model_folder(kind)))
    model = reward.model
    model.set_attn_implementation(attention)
    assert takes_packed_rows(reward.model)
    trees = [([4, 9, 10, 11, 5], [[12, 5], [13, 14, 15, 5], [16, 5]]), ([4, 5], [[9, 5]] * 3)]
    names = ("input_ids", "position_ids", "attention_mask", "pool_at")
    rows = [pack(prompt, responses, 16) for prompt, responses in trees]
    packed = dict(zip(names, (torch.stack(x) for x in zip(*rows, strict=True)), strict=True))
    texts = [prompt + response for prompt, responses in trees for response in responses]
    separate = {
        "input_ids": torch.tensor([t + [0] * (9 - len(t)) for t in texts]),
        "attention_mask": torch.tensor([[1] * len(t) + [0] * (9 - len(t)) for t in texts]),
    }
    expected = compute_rewards(model, separate)
    rewards = compute_rewards(model, packed)
    assert rewards.shape == (2, 3)
    assert model(**packed).logits.shape == (2, 3, 1)
    torch.testing.assert_close(rewards.flatten(), expected, atol=1e-5, rtol=0)
    assert np.ptp(rewards.detach().numpy()[0]) > 0.01
    of_separate = gradients_of(model, expected)
    of_packed = gradients_of(model, rewards)
    assert of_packed.keys() == of_separate.keys() == dict(model.named_parameters()).keys()
    for name, gradient in of_separate.items():
        torch.testing.assert_close(of_packed[name], gradient, atol=2e-5, rtol=1e-5)


def test_which_models_take_packed_rows(model_folder):
    assert not takes_packed_rows(load_reward_model(str(model_folder("bert"))).model)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 32}
    llama = load_reward_model(str(model_folder("llama")))
    llama.model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not takes_packed_rows(llama.model)
    for window in (None, 4):
        config = MistralConfig(**sizes, **heads, num_labels=1, sliding_window=window)
        mistral = MistralForSequenceClassification(config)
        assert not takes_packed_rows(mistral)  # it does not pool by mask yet
        adapt_classes(mistral, llama.tokenizer.pad_token_id)
        assert takes_packed_rows(mistral) is (window is None)


def test_a_pooling_that_cannot_be_is_refused(model_folder):
    model = load_reward_model(str(model_folder("llama"))).model
    ids = torch.tensor([[4, 9, 5]])
    with pytest.raises(ValueError, match="computes no loss, but got `labels`"):
        model(ids, labels=torch.zeros(1))
    with pytest.raises(ValueError, match="4D attention_mask must come with `pool_at` and"):
        model(ids, attention_mask=torch.ones(1, 1, 3, 3, dtype=torch.bool))
    with pytest.raises(TypeError, match="transformers or peft model is needed, but got Linear"):
        plain_model(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_gives_the_same_gradients_without_dropout(model_folder, tmp_path, kind):
    folder = shutil.copytree(model_folder(kind), tmp_path / "model")
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout")
    edit_json(folder / "config.json", **dict.fromkeys(rates, 0.5))
    reward = load_reward_model(str(folder))
    model, batch = reward.model, pad(reward)
    kept = gradients_of(model, compute_rewards(model, batch))
    calls = []
    layer = next(m for m in model.modules() if isinstance(m, GradientCheckpointingLayer))
    last = [module for module in layer.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda *_: calls.append(1))
    for _ in range(2):  # a second time changes nothing, and eval() takes nothing back
        enable_activation_checkpointing(model)
        model.eval()
        calls.clear()
        rewards = compute_rewards(model, batch)
        assert torch.equal(rewards, compute_rewards(model, batch))
        assert len(calls) == 2
        recomputed = gradients_of(model, rewards)
        assert len(calls) == 3
        assert recomputed.keys() == kept.keys()
        for name, gradient in kept.items():
            torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-6)
    calls.clear()
    rewards_of(model, batch)
    assert len(calls) == 1
    assert not any(module.training for module in model.modules())


def test_checkpointing_keeps_off_the_dropout_of_a_layer_itself():
    """OPT's layers ask their own `training` whether to drop."""
    config = OPTConfig(
        vocab_size=32,
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        dropout=0.5,
        num_labels=1,
    )
    model = OPTForSequenceClassification(config).eval()
    enable_activation_checkpointing(model)
    batch = {"input_ids": torch.tensor([[4, 9, 5]]), "attention_mask": torch.ones(1, 3).long()}
    assert torch.equal(compute_rewards(model, batch), compute_rewards(model, batch))


def test_checkpointing_needs_layers(tiny_bert):
    tiny_bert.model.bert.encoder.layer = torch.nn.ModuleList()
    with pytest.raises(ValueError, match="BertForSequenceClassification marks none"):
        enable_activation_checkpointing(tiny_bert.model)


def test_the_head_digest_sees_the_head_and_nothing_else(model_folder):
    digests = set()
    for kind in KINDS:
        model = load_reward_model(str(model_folder(kind))).model
        first = head_digest(model)
        assert first == head_digest(load_reward_model(str(model_folder(kind))).model)
        head = getattr(model, HEADS[kind])
        with torch.no_grad():
            next(model.base_model.parameters()).add_(1)
            assert head_digest(model) == first
            head.weight[0, 3] += 1e-4
        digests |= {first, head_digest(model)}
    assert len(digests) == 2 * len(KINDS)


def test_a_folder_gives_a_model_its_name(model_folder):
    reward = load_reward_model(str(model_folder("bert")))
    assert reward.model.name_or_path == str(model_folder("bert").resolve())
    assert reward.revision is None


def test_a_folder_is_whole_or_as_it_was(tmp_path, monkeypatch):
    out = tmp_path / "deep" / "out"
    with atomic_folder(out) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").write_text("old")
        assert temporary.parent == out.parent
        assert not out.exists()
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic_folder(out) as temporary:
        shutil.copytree(tmp_path / "nowhere", temporary / "half")
    real = Path.rename

    def refuse_the_new(self, target):
        if self.suffix == ".tmp":
            raise OSError("no rename")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    for folder in (out, tmp_path / "never"):
        with pytest.raises(OSError, match="no rename"), atomic_folder(folder) as temporary:
            (temporary / "file").write_text("new")
    assert (out / "sub" / "file").read_text() == "old"
    assert not (tmp_path / "never").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    monkeypatch.undo()
    with atomic_folder(out) as temporary:
        (temporary / "file").write_text("new")
    assert {path.name for path in out.iterdir()} == {"file", MARKER}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
