"""Exports of many kinds of models in transformers 4.51, rewardbench and OpenRLHF.

`scpo.models.export.transformers4` names the kinds that are equal: each is held here, with other
rotary settings than version 4 takes when it finds none.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scpo.models.export.transformers4 import EQUAL
from tests.dialogues import export_model
from tests.interop.conftest import assert_equal, our_rewards
from tests.interop.old_readers import run_old
from tests.interop.test_openrlhf import rewards_in_openrlhf
from tests.model_kinds import DECODERS, ENCODERS, GROUPED, write_kind

BASE = {"rope_type": "default", "rope_theta": 50.0}
HALF = {"rope_parameters": BASE | {"partial_rotary_factor": 0.5}}
LAYERS = {"full_attention": BASE, "sliding_attention": BASE | {"rope_theta": 9.0}}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
WINDOWS = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
ROTARY = ("Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "Gemma2", "Falcon", "Starcoder2")
OWN: dict[str, dict[str, Any]] = {
    **{kind: {"rope_parameters": BASE} for kind in ROTARY},
    **dict.fromkeys(("GPTNeoX", "Phi", "Phi3"), HALF),
    "ModernBert": {"rope_parameters": LAYERS},
}
Named = tuple[str, dict[str, Any]]
SCALED: dict[str, Named] = {
    name: ("Llama", {"rope_parameters": BASE | {"rope_type": name, "factor": 8.0} | more})
    for name, more in {"linear": {}, "dynamic": {}, "llama3": LLAMA3}.items()
}
OTHERWISE: dict[str, Named] = {
    "Gemma2": ("Gemma2", OWN["Gemma2"]),
    "yarn": ("Llama", {"rope_parameters": BASE | {"rope_type": "yarn", "factor": 4.0}}),
    "windows": ("Qwen2", WINDOWS),
    "experts": ("Mixtral", GROUPED | {"num_local_experts": 2}),
}
ALL: dict[str, Named] = {
    **{kind: (kind, OWN.get(kind, {})) for kind in (*ENCODERS, *DECODERS)},
    **SCALED,
    **OTHERWISE,
}
SAME_DECODERS = [name for name in DECODERS if name not in OTHERWISE]
OPENRLHF = ("Gemma2", "Qwen3", "Mistral", "Gemma", "Phi3", "GPT2", "Falcon", "llama3", "windows")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported models by name; do not write to them."""
    made = {}
    for name, (kind, own) in ALL.items():
        base = write_kind(tmp_path_factory.mktemp(name) / "base", kind, **own)
        made[name] = export_model(base, base.parent / "out")
    return made


@pytest.fixture(scope="module")
def read_old(folders: dict[str, Path]) -> dict[tuple[str, str], list[float] | str]:
    jobs = [("transformers", name) for name in ALL]
    jobs += [("template", name) for name in ENCODERS]
    jobs += [("rewardbench", name) for name in SAME_DECODERS]
    rewards = run_old([(reader, folders[name]) for reader, name in jobs])
    return dict(zip(jobs, rewards, strict=True))


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


@pytest.mark.parametrize("name", [*ENCODERS, *SAME_DECODERS, *SCALED])
def test_transformers_4_gives_our_rewards(
    folders: dict[str, Path], read_old: dict[tuple[str, str], Any], name: str
) -> None:
    assert_equal(read_old["transformers", name], our_rewards(folders[name]))
    assert "transformers 4" not in card_of(folders[name])


def test_each_kind_that_is_called_equal_is_held(folders: dict[str, Path]) -> None:
    held = {
        json.loads((folders[name] / "config.json").read_text())["model_type"]
        for name in (*ENCODERS, *SAME_DECODERS)
    }
    assert held == EQUAL


@pytest.mark.parametrize("name", ENCODERS)
def test_templates_of_encoders_are_equal_or_the_card_says_why(
    folders: dict[str, Path], read_old: dict[tuple[str, str], Any], name: str
) -> None:
    lost = "the token types are lost" in card_of(folders[name])
    assert lost == (name in ("Bert", "Albert", "Electra", "RemBert"))
    if not lost:
        assert_equal(read_old["template", name], our_rewards(folders[name]))


@pytest.mark.parametrize("name", SAME_DECODERS)
def test_rewardbench_is_equal_or_the_card_says_why(
    folders: dict[str, Path], read_old: dict[tuple[str, str], Any], name: str
) -> None:
    placed = "Padding at the left (rewardbench)" in card_of(folders[name])
    assert placed == (name in ("GPT2", "GPTNeo"))
    if not placed:
        assert_equal(read_old["rewardbench", name], our_rewards(folders[name]))


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_transformers_4_reads_otherwise_stands_in_the_card(
    folders: dict[str, Path], read_old: dict[tuple[str, str], Any], name: str
) -> None:
    theirs, ours = read_old["transformers", name], our_rewards(folders[name])
    assert isinstance(theirs, str) or np.abs(theirs - ours).max() > 1e-3
    assert "transformers 4 and what is built on it" in card_of(folders[name])


@pytest.mark.parametrize("name", OPENRLHF)
def test_openrlhf_gives_our_rewards(
    openrlhf: ModuleType, folders: dict[str, Path], name: str
) -> None:
    assert_equal(rewards_in_openrlhf(openrlhf, folders[name]), our_rewards(folders[name]))
