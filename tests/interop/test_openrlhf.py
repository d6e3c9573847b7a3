"""OpenRLHF's loader of reward models, and tokens as its `serve_rm` makes them."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoTokenizer

from tests.dialogues import CONVERSATIONS
from tests.interop.conftest import Exports, assert_equal, our_rewards


def rewards_in_openrlhf(openrlhf: ModuleType, folder: Path) -> torch.Tensor:
    model = openrlhf.get_llm_for_sequence_regression(
        str(folder), "reward", attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    batch = tokenizer(
        tokenizer.apply_chat_template(CONVERSATIONS, tokenize=False),
        return_tensors="pt",
        add_special_tokens=False,
        max_length=2048,
        padding=True,
        truncation=True,
    )
    with torch.no_grad():
        rewards: torch.Tensor = model(batch["input_ids"], batch["attention_mask"])
    return rewards


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_openrlhf_gives_our_rewards(openrlhf: ModuleType, exports: Exports, kind: str) -> None:
    assert_equal(rewards_in_openrlhf(openrlhf, exports(kind)), our_rewards(exports(kind)))


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_the_card_of_an_encoder_says_that_openrlhf_reads_none(exports: Exports, kind: str) -> None:
    assert "OpenRLHF" in (exports(kind) / "README.md").read_text()
