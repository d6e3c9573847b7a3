"""What an exported folder tells other programs."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import scpo
from scpo.models.export.transformers4 import old_fields, old_note
from scpo.models.loading import load_reward_model
from tests.dialogues import (
    ANSWERS,
    COMPLETIONS,
    CONVERSATIONS,
    FACTS,
    PLAIN,
    PROMPTS,
    SAID,
    as_pair,
    export_model,
)
from tests.model_kinds import write_kind

HALF = {"partial_rotary_factor": 0.5}
TURNS = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} <eos> "
    "{% endfor %}"
)


def read(file):
    return json.loads(file.read_text())


@pytest.mark.parametrize("kind", ["bert", "deberta", "llama", "qwen2"])
def test_plain_transformers_gives_our_rewards_of_conversations(exports, kind):
    ours = scpo.RewardModel.from_pretrained(exports(kind))(PROMPTS, COMPLETIONS)
    tokenizer = AutoTokenizer.from_pretrained(exports(kind))
    assert tokenizer.model_max_length == 60
    model = AutoModelForSequenceClassification.from_pretrained(exports(kind)).eval()
    inputs = tokenizer.apply_chat_template(
        CONVERSATIONS, padding=True, return_dict=True, return_tensors="pt"
    )
    if kind == "bert":  # a rendered pair has no types: the card says so
        inputs = tokenizer([*map(as_pair, CONVERSATIONS)], padding=True, return_tensors="pt")
    elif kind == "deberta":
        inputs.pop("token_type_ids")
    with torch.no_grad():
        theirs = model(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    assert np.ptp(ours) > 0.01


@pytest.mark.parametrize(
    "template",
    [
        TURNS,
        "<bos> {{ strftime_now('%Y').replace('2024', 'good') }} " + TURNS,
        "<bos> {{ date_string }} " + TURNS,
        {"default": TURNS, "tool_use": "good " + TURNS},
    ],
    ids=["no BOS", "a clock", "a date", "several"],
)
def test_conversations_go_out_as_they_are_read(model_folder, tmp_path, template):
    base = shutil.copytree(model_folder("llama"), tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(base)
    reward = scpo.RewardModel.from_pretrained(base)
    out = reward.save_pretrained(tmp_path / "out")
    assert not [file for file in out.iterdir() if file.is_dir()]
    again = scpo.RewardModel.from_pretrained(out)
    twice = again.save_pretrained(tmp_path / "twice") / "chat_template.jinja"
    assert (out / twice.name).read_text() == twice.read_text()
    tokenizer = AutoTokenizer.from_pretrained(out)
    inputs = tokenizer.apply_chat_template(
        CONVERSATIONS, padding=True, return_dict=True, return_tensors="pt"
    )
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    with torch.no_grad():
        theirs = model(**inputs).logits[:, 0].numpy()
    ours = reward(PROMPTS, COMPLETIONS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(ours, again(PROMPTS, COMPLETIONS))
    rendered = tokenizer.apply_chat_template(CONVERSATIONS, tokenize=False)
    policys = [text.removeprefix("<bos>") for text in rendered]  # of a template without BOS
    for texts in (rendered, policys):
        np.testing.assert_allclose(ours, again.score_rendered(texts), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_the_pipeline_gives_raw_rewards(exports, kind):
    read_out = pipeline("text-classification", model=str(exports(kind)))
    pairs = [{"text": p, "text_pair": a} for p, a in zip(SAID, ANSWERS, strict=True)]
    found = read_out(pairs)
    assert {each["label"] for each in found} == {"reward"}
    ours = scpo.RewardModel.from_pretrained(exports(kind))(SAID, ANSWERS)
    np.testing.assert_allclose(ours, [each["score"] for each in found], atol=1e-5, rtol=0)


def test_the_reward_function_takes_texts_and_messages_alike(exports):
    reward = scpo.RewardModel.from_pretrained(exports("llama"))
    assert reward.__name__ == "scpo_reward"
    texts = reward(prompts=SAID, completions=ANSWERS, completion_ids=None, trainer_state=None)
    messages = reward(PLAIN, [[{"role": "assistant", "content": a}] for a in ANSWERS])
    assert texts == messages
    assert isinstance(texts, list)
    longer = ["a " * 99]
    given = scpo.RewardModel.from_pretrained(
        exports("llama"), max_tokens=60, overlong="truncate_left"
    )
    with pytest.warns(UserWarning, match=r"Texts over 60 tokens are cut \(truncate_left\)"):
        assert reward(longer, ["good"]) == given(longer, ["good"])
    assert reward.num_cut == given.num_cut == 1
    for completion, match in (
        ([], "has messages of none"),
        ([{"role": "user", "content": "a"}], "has messages of user"),
        ([{"role": "assistant", "content": [{"type": "text"}]}], "must be text, but is a list"),
        ([{"role": "assistant", "content": None, "tool_calls": []}], "but is a NoneType"),
    ):
        with pytest.raises(ValueError, match=match):
            reward(["a"], [completion])


def test_what_other_programs_read(exports, model_folder):
    folder = exports("llama")
    config, tokenizer = read(folder / "config.json"), read(folder / "tokenizer_config.json")
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "reward"}
    assert config["sentence_transformers"]["activation_fn"].endswith("Identity")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["chat_template"] == (folder / "chat_template.jinja").read_text()
    mask = os.umask(0)
    os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~mask}
    facts = load_reward_model(str(folder)).facts
    assert facts == FACTS
    assert load_reward_model(str(model_folder("llama"))).facts is None


@pytest.mark.parametrize(("kind", "reads_pairs"), [("bert", True), ("llama", False)])
def test_cross_encoders_are_told_to_read_pairs(exports, kind, reads_pairs):
    folder = exports(kind)
    assert (folder / "modules.json").is_file() == reads_pairs
    if reads_pairs:
        assert list(read(folder / "sentence_bert_config.json")["modality_config"]) == ["text"]


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_every_export_has_a_card(exports, kind):
    text = (exports(kind) / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["pipeline_tag"] == "text-classification"
    assert "| weighting temperature beta | 1.1 |" in text
    assert "| other settings that the test users judged before | 2 |" in text
    assert "scpo.RewardModel.from_pretrained(FOLDER)" in text
    assert "trained with `truncate_left`" in text
    assert ("token types are lost" in text) == (kind == "bert")


@pytest.mark.parametrize(
    ("config", "old", "noted"),
    [
        ({"model_type": "bert"}, {}, None),
        (
            {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 5, **HALF}},
            {"rope_theta": 5, "rotary_emb_base": 5, "rotary_pct": 0.5, **HALF},
            None,
        ),
        (
            {
                "model_type": "modernbert",
                "rope_parameters": {
                    "full_attention": {"rope_theta": 7},
                    "sliding_attention": {"rope_theta": 3},
                },
            },
            {"global_rope_theta": 7, "local_rope_theta": 3},
            None,
        ),
        (
            {"model_type": "llama", "rope_parameters": {"rope_theta": 5, "rope_type": "yarn"}},
            {"rope_theta": 5, "rope_scaling": {"rope_type": "yarn"}},
            "a llama model with yarn positions",
        ),
        (
            {"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]},
            {},
            "a qwen3 model with sliding windows",
        ),
        ({"model_type": "mixtral"}, {}, "a mixtral model other rewards"),
        ({"model_type": "gemma2"}, {}, "a gemma2 model other rewards"),
    ],
)
def test_what_transformers_4_reads(config, old, noted):
    assert old_fields(config) == old
    note = old_note(config)
    assert (note is None) == (noted is None)
    assert noted is None or noted in note


def test_readers_are_told_the_inputs_and_where_padding_stands(exports):
    tokenizer = read(exports("bert") / "tokenizer_config.json")
    assert tokenizer["model_input_names"] == ["input_ids", "token_type_ids", "attention_mask"]
    assert tokenizer["padding_side"] == "right"


def test_the_card_names_positions_that_padding_moves_and_adapters(exports, tmp_path):
    folder = export_model(write_kind(tmp_path / "base", "GPT2"), tmp_path / "out")
    assert "moves the positions of a gpt2 model" in (folder / "README.md").read_text()
    assert "This is an adapter" in (exports("bert", lora=True) / "README.md").read_text()
