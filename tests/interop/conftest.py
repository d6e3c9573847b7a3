"""Exported models for the programs that others read them with, and our rewards of them."""

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import scpo
from tests.dialogues import COMPLETIONS, PROMPTS, export_model
from tests.scpo.conftest import write_model

Exports = Callable[..., Path]
# Of flash_attn, which needs CUDA, OpenRLHF imports names that only packed samples use.
UNUSED: dict[str, tuple[str, ...]] = {
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of other programs are theirs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Folder of an exported model by kind; do not write to it."""
    made: dict[tuple[str, bool], Path] = {}

    def folder_of(kind: str, *, lora: bool = False) -> Path:
        if (kind, lora) not in made:
            base = write_model(tmp_path_factory.mktemp(kind) / "base", kind)
            made[kind, lora] = export_model(base, base.parent / f"reward-{kind}", lora=lora)
        return made[kind, lora]

    return folder_of


def our_rewards(folder: Path) -> np.ndarray:
    """Rewards of the sixteen conversations, which differ."""
    rewards = np.array(scpo.RewardModel.from_pretrained(folder)(PROMPTS, COMPLETIONS))
    assert np.ptp(rewards) > 0.01
    return rewards


def assert_equal(theirs: object, ours: object) -> None:
    np.testing.assert_allclose(np.asarray(theirs, float), ours, atol=1e-5, rtol=0)


def require(name: str) -> ModuleType:
    """Import a program; without it nothing is shown, which is a failure and no skip."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.fail(f"{name} cannot be imported ({error}). `make interop` installs it.")


@pytest.fixture
def openrlhf(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """OpenRLHF's models; it knows bf16 and fp16 alone, so its table of types is given float32."""
    for name, members in UNUSED.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for member in members:
            setattr(module, member, None)
        monkeypatch.setitem(sys.modules, name, module)
    models = require("openrlhf.models")
    monkeypatch.setattr("openrlhf.utils.utils.convert_to_torch_dtype", lambda _: torch.float32)
    return models
