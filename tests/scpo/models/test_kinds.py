"""Tiny models of many real classes: scored as plain transformers scores them, or refused."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scpo.countries.scoring import score_texts
from scpo.models.loading import load_reward_model
from scpo.tokens.encoding import encode_texts
from tests.model_kinds import (
    DECODERS,
    ENCODERS,
    POSITIONS,
    SIZES,
    make_tokenizer,
    write_kind,
)
from tests.saved_model import save_reward_model

PROMPTS = ["a b c", "d", "e f g h a b c d e", "a", "b b", "c d e"]
RESPONSES = ["good", "bad bad a", "h", "a c b d a b", "a", "good bad"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Writes a model of a kind, once."""
    made = {}

    def folder_of(kind, pad="<pad>"):
        if (kind, pad) not in made:
            made[kind, pad] = write_kind(tmp_path_factory.mktemp(kind) / "model", kind, pad=pad)
        return made[kind, pad]

    return folder_of


def plain_rewards(folder):
    """Each text alone through transformers, without a line of scpo."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rewards = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        if tokenizer.chat_template:
            said = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": response},
            ]
            given = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
            given = {name: given[name] for name in ("input_ids", "attention_mask")}
        else:
            given = tokenizer(prompt, response, return_tensors="pt")
        with torch.no_grad():
            rewards.append(float(model(**given).logits[0, 0]))
    return np.array(rewards)


def own_rewards(folder, *, max_tokens=POSITIONS - 4):
    reward = load_reward_model(str(folder))
    texts = encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=max_tokens)
    return score_texts(reward, texts, np.arange(len(texts)), precision="fp32")


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_rewards_are_those_of_plain_transformers(folders, kind):
    expected = plain_rewards(folders(kind))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(own_rewards(folders(kind)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPT2", "GPTNeoX", "OPT", "Bloom"])
def test_padding_with_the_end_token_scores_what_transformers_scores(folders, kind):
    folder = folders(kind, "<eos>")
    assert not np.allclose(plain_rewards(folder), plain_rewards(folders(kind)), atol=1e-3)
    np.testing.assert_allclose(own_rewards(folder), plain_rewards(folder), atol=1e-5, rtol=1e-5)


def edit(file, **changes):
    held = json.loads(file.read_text())
    held.update(changes)
    file.write_text(json.dumps({name: value for name, value in held.items() if value != "gone"}))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def write(file, data):
    file.write_bytes(data)


def cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


def index(folder):
    shards = {
        "a.weight": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
    }
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    text = json.dumps({"metadata": {}, "weight_map": shards})
    (folder / "model.safetensors.index.json").write_text(text)


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def rename_head(tensors):
    return {name.replace("score.", "v_head."): tensor for name, tensor in tensors.items()}


def no_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def without_words(folder):
    held = json.loads((folder / "tokenizer.json").read_text())
    held["model"]["vocab"] = {"<unk>": 0, "<pad>": 1, "<eos>": 3}
    (folder / "tokenizer.json").write_text(json.dumps(held))


def more_tokens(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new{number}>" for number in range(20)])
    tokenizer.save_pretrained(folder)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
ANY_KIND = {
    "pointer weights": (lambda f: write(f / WEIGHTS, POINTER), r"model\.safetensors is a pointer"),
    "pointer tokenizer": (
        lambda f: write(f / "tokenizer.json", POINTER),
        r"tokenizer\.json is a p",
    ),
    "device for a template": (  # a pipe would wait here for its writer
        lambda f: (f / "chat_template.jinja").symlink_to("/dev/null"),
        r"chat_template\.jinja is no file, but a folder, a pipe or a device",
    ),
    "cut weights": (lambda f: cut(f / WEIGHTS, 3000), r"model\.safetensors must be a whole"),
    "empty weights": (
        lambda f: cut(f / WEIGHTS, 0),
        r"model\.safetensors must be a whole.* 0 bytes",
    ),
    "foreign weights": (
        lambda f: write(f / WEIGHTS, b"PK" * 999),
        r"model\.safetensors must be a w",
    ),
    "long header": (
        lambda f: write(f / WEIGHTS, b"\xff" * 64),
        r"model\.safetensors must be a whole",
    ),
    "missing shard": (index, r"model-00002-of-00002\.safetensors is missing"),
    "bad index": (
        lambda f: ((f / WEIGHTS).unlink(), write(f / f"{WEIGHTS}.index.json", b"{}")),
        r"index\.json: weight_map must name",
    ),
    "index leaves the folder": (
        lambda f: (
            (f / WEIGHTS).unlink(),
            write(f / f"{WEIGHTS}.index.json", b'{"weight_map": {"a": "../x.safetensors"}}'),
        ),
        r"index\.json: weight_map must name",
    ),
    "pickled": (pickled, r"pickled weights \(pytorch_model\.bin\) are not read"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), r"holds no weights"),
    "config cut": (lambda f: cut(f / CONFIG, 40), r"config\.json must be JSON"),
    "config a list": (lambda f: write(f / CONFIG, b"[]"), r"config\.json must hold a JSON object"),
    "config no text": (lambda f: write(f / CONFIG, b"\xff\xfe{"), r"config\.json must be JSON"),
    "config deep": (lambda f: write(f / CONFIG, b"[" * 100_000), r"config\.json must be JSON"),
    "unknown type": (lambda f: edit(f / CONFIG, model_type="nothing"), r"cannot load it as a seq"),
    "no type": (lambda f: edit(f / CONFIG, model_type="gone"), r"cannot load it as a sequence"),
    "width in words": (lambda f: edit(f / CONFIG, hidden_size="wide"), r"cannot load it as a seq"),
    "other width": (lambda f: edit(f / CONFIG, vocab_size=64), r"cannot load it as a sequence"),
    "quantized": (
        lambda f: edit(f / CONFIG, quantization_config={"quant_method": "gptq", "bits": 4}),
        r"config\.json: the weights are quantized",
    ),
    "two labels": (
        lambda f: (
            edit(f / CONFIG, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}),
            edit_weights(
                f,
                lambda tensors: {
                    name: torch.cat([tensor, tensor]) if len(tensor) == 1 else tensor
                    for name, tensor in tensors.items()
                },
            ),
        ),
        r"one output, but this one has 2",
    ),
    "no tokenizer": (no_tokenizer, r"holds no tokenizer \(tokenizer\.json"),
    "tokenizer cut": (
        lambda f: cut(f / "tokenizer.json", 300),
        r"tokenizer \(tokenizer\.json\) can",
    ),
    "tokenizer empty": (
        lambda f: write(f / "tokenizer.json", b"{}"),
        r"\(tokenizer\.json\) cannot",
    ),
    "tokenizer config": (
        lambda f: write(f / "tokenizer_config.json", b"{"),
        r"er_config\.json must",
    ),
    "no words": (without_words, r"the tokenizer knows no words"),
    "no padding": (
        lambda f: edit(f / "tokenizer_config.json", pad_token="gone"),
        r"padding token must",
    ),
    "more tokens": (more_tokens, r"token '<new\d+>' of id \d+, but the model has emb"),
}
LLAMA = {
    "another head": (
        lambda f: edit_weights(f, rename_head),
        r"lacks score\.weight.*read its v_head",
    ),
    "two paddings": (
        lambda f: edit(f / CONFIG, pad_token_id=9),
        r"config\.json says pad_token_id 9",
    ),
    "end, no padding": (
        lambda f: (
            edit(f / CONFIG, pad_token_id=None),
            edit(f / "tokenizer_config.json", pad_token="<eos>"),
        ),
        r"config\.json has no pad_token_id",
    ),
}
BERT = {
    "head lost": (
        lambda f: edit_weights(
            f, lambda t: {n: v for n, v in t.items() if not n.startswith("classifier")}
        ),
        r"lacks classifier\.bias, classifier\.weight",
    ),
    "one token type": (
        lambda f: (
            edit(f / CONFIG, type_vocab_size=1),
            edit_weights(
                f, lambda t: {n: v[:1] if "token_type" in n else v for n, v in t.items()}
            ),
        ),
        r"gives token type 1, but the model has 1",
    ),
}
CASES = [
    *(("Bert", name, *case) for name, case in ANY_KIND.items()),
    *(("Llama", name, *ANY_KIND[name]) for name in ("no tokenizer", "two labels", "no words")),
    *(("Llama", name, *case) for name, case in LLAMA.items()),
    *(("Bert", name, *case) for name, case in BERT.items()),
    ("GPT2", "two paddings", lambda f: edit(f / CONFIG, pad_token_id=9), r"it scores the padding"),
]


@pytest.mark.parametrize(
    ("kind", "spoil", "match"), [pytest.param(k, s, m, id=f"{k} {n}") for k, n, s, m in CASES]
)
def test_what_is_wrong_with_a_folder_is_one_line(folders, tmp_path, kind, spoil, match):
    folder = shutil.copytree(folders(kind), tmp_path / "model")
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=match) as info:
        load_reward_model(str(folder))
    assert str(folder) in str(info.value)
    assert "\n" not in str(info.value)


HARMLESS = {
    "no padding in config.json": lambda f: edit(f / CONFIG, pad_token_id=None),
    "further weights": lambda f: edit_weights(
        f, lambda t: t | {"lm_head.weight": torch.ones(2, 2)}
    ),
    "half precision": lambda f: edit_weights(f, lambda t: {n: v.half() for n, v in t.items()}),
    "unused NaN": lambda f: edit_weights(f, lambda t: t | {"unread": torch.tensor([np.nan])}),
}


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Llama", "GPT2"])
@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_only_strange_scores_as_in_transformers(folders, tmp_path, kind, change):
    folder = shutil.copytree(folders(kind), tmp_path / "model")
    change(folder)
    np.testing.assert_allclose(own_rewards(folder), plain_rewards(folder), atol=1e-5, rtol=1e-5)


def test_nan_in_the_weights_is_told_with_the_model(folders, tmp_path):
    folder = shutil.copytree(folders("Llama"), tmp_path / "model")
    edit_weights(folder, lambda t: t | {"score.weight": t["score.weight"] * np.nan})
    with pytest.raises(RuntimeError, match=rf"6 of 6 texts got NaN or infinity of {folder}"):
        own_rewards(folder)


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "GPT2", "OPT", "DistilBert", "MPNet"])
def test_texts_longer_than_the_positions_are_refused(folders, monkeypatch, kind):
    """At the number named transformers still scores, one more is refused."""
    room = {"Roberta": POSITIONS - 2, "MPNet": POSITIONS - 2}.get(kind, POSITIONS)
    monkeypatch.setitem(globals(), "PROMPTS", ["a " * 99])
    monkeypatch.setitem(globals(), "RESPONSES", ["good"])
    assert np.isfinite(own_rewards(folders(kind), max_tokens=room)).all()
    with pytest.raises(
        ValueError, match=rf"has {room} positions, but texts have up to {room + 1}"
    ):
        own_rewards(folders(kind), max_tokens=room + 1)


@pytest.mark.parametrize("kind", ["Bart", "XLNet"])
def test_classes_that_score_the_padding_are_refused(tmp_path, kind):
    sizes = {"d_model": 16, "d_inner": 24, "n_layer": 2, "n_head": 2, "vocab_size": 32}
    if kind == "Bart":
        sizes = SIZES | {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "init_std": 0.4}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 3}
    config = getattr(transformers, f"{kind}Config")(
        **sizes, **({} if kind == "Bart" else {"num_labels": 1})
    )
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(tmp_path)
    make_tokenizer(
        chat=False, types=False, pad="<eos>" if kind == "Bart" else "<pad>"
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must score (padded texts|a text alike alone)"):
        load_reward_model(str(tmp_path))


def test_a_new_head_on_the_mean_loads_back_unchanged(folders, tmp_path):
    reward = load_reward_model(folders("ModernBert"), new_head=True, head_pooling="mean")
    texts = encode_texts(reward.tokenizer, PROMPTS, RESPONSES, max_tokens=POSITIONS)
    scored = score_texts(reward, texts, np.arange(len(texts)), precision="fp32")
    folder = save_reward_model(reward, tmp_path / "m")
    np.testing.assert_allclose(scored, plain_rewards(folder), atol=1e-5)
    assert json.loads((folder / "config.json").read_text())["classifier_pooling"] == "mean"
    first = load_reward_model(folders("ModernBert"), new_head=True)
    other = score_texts(first, texts, np.arange(len(texts)), precision="fp32")
    assert np.abs(scored - other).max() > 1e-3


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "DebertaV2", "Llama"])
def test_a_head_on_the_mean_that_would_be_lost_is_refused(kind, folders):
    with pytest.raises(ValueError, match=r"cannot load a \w+.* model back .* modernbert or euro"):
        load_reward_model(folders(kind), new_head=True, head_pooling="mean")
