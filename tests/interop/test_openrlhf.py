"""OpenRLHF's loader, `get_llm_for_sequence_regression`, and tokens as its `serve_rm` makes them.

Of flash_attn, which needs CUDA, it imports names that only packed samples use: they stand empty
here. It knows bf16 and fp16 alone, so its table of types is given float32.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from transformers import AutoTokenizer

from tests.dialogues import CONVERSATIONS
from tests.interop.conftest import Exports, assert_equal, our_rewards, require

UNUSED = {
    "flash_attn": (),
    "flash_attn.bert_padding": ("index_first_axis", "pad_input", "rearrange", "unpad_input"),
    "flash_attn.utils": (),
    "flash_attn.utils.distributed": ("all_gather",),
}


@pytest.fixture
def openrlhf(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, members in UNUSED.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for member in members:
            setattr(module, member, None)
        monkeypatch.setitem(sys.modules, name, module)
    models = require("openrlhf.models")
    monkeypatch.setattr("openrlhf.utils.utils.convert_to_torch_dtype", lambda _: torch.float32)
    return models


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_openrlhf_gives_our_rewards(openrlhf: ModuleType, exports: Exports, kind: str) -> None:
    folder = exports(kind)
    model = openrlhf.get_llm_for_sequence_regression(
        str(folder), "reward", attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    texts = tokenizer.apply_chat_template(CONVERSATIONS, tokenize=False)
    batch = tokenizer(
        texts,
        return_tensors="pt",
        add_special_tokens=False,
        max_length=2048,
        padding=True,
        truncation=True,
    )
    with torch.no_grad():
        theirs = model(batch["input_ids"], batch["attention_mask"])
    assert_equal(theirs, our_rewards(folder))


@pytest.mark.parametrize("kind", ["bert", "deberta"])
def test_the_card_of_an_encoder_says_that_openrlhf_reads_none(exports: Exports, kind: str) -> None:
    assert "OpenRLHF" in (exports(kind) / "README.md").read_text()
