import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from scpo.countries.scoring import score_texts
from scpo.models.export import model_folder as written
from scpo.models.export.model_folder import export_reward_model
from scpo.models.loading import load_reward_model
from scpo.models.lora import add_lora, has_lora
from scpo.models.reward_model import content_hash, fresh_model
from scpo.tokens.encoding import encode_texts
from tests.saved_model import save_reward_model

KINDS = ("bert", "deberta", "llama", "qwen2")


def texts_of(reward):
    return encode_texts(
        reward.tokenizer, ["a b c", "d", "e f g h"], ["good", "bad fine", "h"], max_tokens=32
    )


def expect(reward):
    texts = texts_of(reward)
    rewards = score_texts(reward, texts, np.arange(len(texts)), precision="fp32")
    return {"texts": texts, "expected": rewards}


def move(reward, seed=1):
    """A training that moves every weight that trains."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in reward.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return reward


def load(model_folder, kind, *, lora=False):
    reward = load_reward_model(str(model_folder(kind)))
    return move(add_lora(reward, rank=2, alpha=4.0) if lora else reward)


def state_of(reward):
    return {name: p.detach().clone() for name, p in reward.model.named_parameters()}


def spoil(reward):
    """Weights of no use: only the gathered state counts then."""
    with torch.no_grad():
        for parameter in reward.model.parameters():
            parameter.zero_()


@pytest.mark.parametrize("gathered", [False, True])
@pytest.mark.parametrize(
    ("lora", "merge"), [(False, True), (False, False), (True, True), (True, False)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_scores_as_expected(model_folder, tmp_path, kind, lora, merge, gathered):
    reward = load(model_folder, kind, lora=lora)
    wanted = expect(reward)
    state = list(state_of(reward).items()) if gathered else None
    if gathered:
        spoil(reward)
    out = tmp_path / "deep" / "out"
    assert export_reward_model(reward, out, **wanted, weights=state, merge=merge) == out
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    again = load_reward_model(str(out))
    assert has_lora(again) == (lora and not merge)
    found = expect(again)["expected"]
    np.testing.assert_allclose(found, wanted["expected"], atol=1e-5, rtol=0)
    if not has_lora(again):
        plain, info = AutoModelForSequenceClassification.from_pretrained(
            out, output_loading_info=True
        )
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        assert plain.dtype == torch.float32
        assert load_file(out / "model.safetensors").keys() == (
            load_file(model_folder(kind) / "model.safetensors").keys()
        )


def test_other_rewards_are_refused_and_the_old_folder_stays(model_folder, tmp_path):
    reward = load(model_folder, "bert")
    out = save_reward_model(reward, tmp_path / "out")
    before = content_hash(out)
    wanted = expect(reward)
    rewards = wanted["expected"]
    largest = max(1.0, np.abs(rewards).max())
    with torch.no_grad():
        reward.model.classifier.bias += 0.01 * largest
    with pytest.raises(RuntimeError, match=r"within 0\.0\d+, but those of the exported folder"):
        export_reward_model(reward, out, **wanted)
    assert content_hash(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    export_reward_model(reward, out, **expect(reward))
    assert content_hash(out) != before
    nan = wanted | {"expected": np.full(3, np.nan)}
    with pytest.raises(RuntimeError, match="those of the exported folder differ by up to nan"):
        export_reward_model(reward, out, **nan)


@pytest.mark.parametrize("lora", [False, True])
def test_a_lost_head_is_refused(model_folder, tmp_path, monkeypatch, lora):
    """Another head of the right shape, and no head at all."""
    reward = load(model_folder, "llama", lora=lora)
    wanted, state = expect(reward), state_of(reward)
    name = next(n for n in state if "score" in n and "original" not in n)
    spoilt = state | {name: -state[name]}
    with pytest.raises(RuntimeError, match="those of the exported folder differ by up to"):
        export_reward_model(reward, tmp_path / "out", **wanted, weights=spoilt.items())
    write = written.write_model_files

    def lose_the_head(reward, folder, weights=None, **sizes):
        kept = [(n, t) for n, t in reward.model.state_dict().items() if "score" not in n]
        write(reward, folder, kept)

    monkeypatch.setattr(written, "write_model_files", lose_the_head)
    with pytest.raises(RuntimeError, match=r"must load, but .* lacks score\.weight"):
        export_reward_model(reward, tmp_path / "out", **wanted)
    assert list(tmp_path.iterdir()) == []


def test_plain_transformers_must_agree(model_folder, tmp_path, monkeypatch):
    reward = load(model_folder, "bert")

    def load_another(folder, **named):
        return move(load_reward_model(str(folder)), seed=2).model

    monkeypatch.setattr(written, "_load_plain", load_another)
    with pytest.raises(RuntimeError, match="those of plain transformers differ by up to"):
        export_reward_model(reward, tmp_path / "out", **expect(reward))


def test_padding_with_the_end_token_is_exported_as_it_is_scored(model_folder, tmp_path):
    folder = shutil.copytree(model_folder("llama"), tmp_path / "model")
    for file, old, new in (
        ("tokenizer_config.json", '"pad_token": "[PAD]"', '"pad_token": "<eos>"'),
        ("config.json", '"pad_token_id": 0', '"pad_token_id": 5'),
    ):
        (folder / file).write_text((folder / file).read_text().replace(old, new))
    reward = load_reward_model(str(folder))
    assert reward.tokenizer.pad_token_id == reward.tokenizer.eos_token_id == 5
    wanted = expect(reward)
    out = export_reward_model(reward, tmp_path / "out", **wanted)
    again = load_reward_model(str(out))
    np.testing.assert_allclose(expect(again)["expected"], wanted["expected"], atol=1e-5)


def test_what_continues_bf16_weights_is_read_in_float32(model_folder, tmp_path):
    base = shutil.copytree(model_folder("llama"), tmp_path / "base")
    AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(
        base
    )
    stored = load_reward_model(str(base), as_stored=True)
    reward = move(fresh_model(stored, torch.device("cpu"), stays_mapped=False))
    out = export_reward_model(reward, tmp_path / "out", **expect(reward))
    assert AutoModelForSequenceClassification.from_pretrained(out).dtype == torch.float32


def test_texts_and_rewards_must_match(tiny_bert, tmp_path):
    wanted = expect(tiny_bert)
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"but got {count} rewards for 3 texts"):
            export_reward_model(
                tiny_bert, tmp_path / "out", texts=wanted["texts"], expected=np.zeros(count)
            )
    with pytest.raises(ValueError, match="but got 0 rewards for 0 texts"):
        export_reward_model(
            tiny_bert,
            tmp_path / "out",
            texts=wanted["texts"].take(np.zeros(0, int)),
            expected=np.zeros(0),
        )


def test_weights_go_into_files_of_a_size_with_an_index(model_folder, tmp_path):
    reward = load(model_folder, "bert")
    wanted = expect(reward)
    folder = save_reward_model(reward, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    largest = max(tensor.nbytes for tensor in weights.values())
    written.write_weights(weights.items(), folder, largest)
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert all(
        len(load_file(folder / f)) == 1 or (folder / f).stat().st_size < 2 * largest for f in files
    )
    np.testing.assert_array_equal(
        expect(load_reward_model(str(folder)))["expected"], wanted["expected"]
    )
