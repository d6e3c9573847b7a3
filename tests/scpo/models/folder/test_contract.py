"""What an exported folder says of itself, and what was changed since."""

import json
import shutil

import pytest

from scpo.models.folder.contract import FACTS_FILE
from scpo.models.loading import load_reward_model
from tests.dialogues import (
    FACTS,
)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place % len(data)] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("place", [7, -40])
def test_a_flipped_bit_is_found_by_name(exports, tmp_path, name, place):
    folder = shutil.copytree(exports("llama"), tmp_path / "model")
    flip(folder / name, place)
    with pytest.raises(ValueError, match=rf"{name} is not what was exported"):
        load_reward_model(str(folder))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: flip(f / FACTS_FILE, 300), r"scpo\.json (is not what|must)"),
        (lambda f: (f / FACTS_FILE).write_text("{"), r"scpo\.json must be JSON"),
        (lambda f: (f / FACTS_FILE).write_text('{"format": 3, "kind": "reward-model"}'), "Update"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
        (lambda f: (f / "added_tokens.json").write_text("{}"), r"added_tokens\.json was added"),
        (lambda f: (f / "chat_template.jinja").write_text("{{ 1 }}"), r"jinja is not what was"),
    ],
)
def test_a_folder_that_was_changed_is_refused(exports, tmp_path, change, match):
    folder = shutil.copytree(exports("llama"), tmp_path / "model")
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        load_reward_model(str(folder))
    (folder / ".scpo.json").write_text("{}")  # files of other rooms are none of the model
    (folder / FACTS_FILE).unlink()


def test_of_a_nodes_ranks_the_first_hashes(exports, tmp_path, monkeypatch):
    folder = shutil.copytree(exports("llama"), tmp_path / "model")
    flip(folder / "model.safetensors", -40)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert load_reward_model(str(folder)).facts == FACTS
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match=r"model\.safetensors is not what was exported"):
        load_reward_model(str(folder))


def test_an_adapter_is_verified_with_its_base(exports, tmp_path):
    folder = shutil.copytree(exports("bert", lora=True), tmp_path / "adapter")
    assert load_reward_model(str(folder)).facts == FACTS
    flip(folder / "adapter_model.safetensors", -9)
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is not what was exported"):
        load_reward_model(str(folder))
    base = shutil.copytree(exports("bert"), tmp_path / "base")
    flip(base / "model.safetensors", -9)
    (folder / FACTS_FILE).unlink()
    config = json.loads((folder / "adapter_config.json").read_text()) | {
        "base_model_name_or_path": str(base)
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"base/model\.safetensors is not what was exported"):
        load_reward_model(str(folder))
