"""transformers 5 (pipeline) and peft; transformers 4.51 and rewardbench in their environment.

`tests/scpo/models/folder/test_contract.py` has AutoModel of transformers 5.
"""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, pipeline

from tests.dialogues import CONVERSATIONS, as_pair
from tests.interop.conftest import Exports, assert_equal, our_rewards, require
from tests.interop.old_readers import run_old

Old = dict[tuple[str, str], list[float] | str]
KINDS = ("bert", "deberta", "llama", "qwen2")


@pytest.fixture(scope="module")
def read_old(exports: Exports) -> Old:
    """Rewards by reader and kind, all of one process."""
    jobs = [("transformers", kind) for kind in KINDS]
    jobs += [("rewardbench", kind) for kind in ("llama", "qwen2", "deberta")]
    rewards = run_old([(reader, exports(kind)) for reader, kind in jobs])
    return dict(zip(jobs, rewards, strict=True))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_pipeline_reads_rendered_conversations(exports: Exports, kind: str) -> None:
    read_out = pipeline("text-classification", model=str(exports(kind)), device="cpu")
    rendered = AutoTokenizer.from_pretrained(exports(kind)).apply_chat_template(
        CONVERSATIONS, tokenize=False
    )
    found = read_out(rendered, add_special_tokens=False)
    assert_equal([each["score"] for each in found], our_rewards(exports(kind)))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_peft_reads_an_adapter(exports: Exports, kind: str) -> None:
    peft = require("peft")
    folder = exports(kind, lora=True)
    model = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    shape = {"padding": True, "return_tensors": "pt", "return_dict": True}
    if kind == "bert":
        inputs = tokenizer([*map(as_pair, CONVERSATIONS)], padding=True, return_tensors="pt")
    else:
        inputs = tokenizer.apply_chat_template(CONVERSATIONS, **shape)
    with torch.no_grad():
        theirs = model.eval()(**inputs).logits[:, 0]
    assert_equal(theirs, our_rewards(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_4_gives_our_rewards(exports: Exports, read_old: Old, kind: str) -> None:
    assert_equal(read_old["transformers", kind], our_rewards(exports(kind)))


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_rewardbench_gives_our_rewards(exports: Exports, read_old: Old, kind: str) -> None:
    assert_equal(read_old["rewardbench", kind], our_rewards(exports(kind)))


def test_rewardbench_cannot_read_encoders_and_the_card_says_so(
    exports: Exports, read_old: Old
) -> None:
    theirs, ours = read_old["rewardbench", "deberta"], our_rewards(exports("deberta"))
    assert np.abs(theirs - ours).max() > 1e-3
    assert "rewardbench" in (exports("deberta") / "README.md").read_text()
