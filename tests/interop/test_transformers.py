"""transformers 5 (pipeline) and peft; transformers 4.51 and rewardbench in their environment.

`tests/scpo/models/folder/test_contract.py` has AutoModel of transformers 5.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, pipeline

from tests.dialogues import CONVERSATIONS, as_pair
from tests.interop.conftest import Exports, assert_equal, our_rewards, require

ROOT = Path(__file__).parents[2]
OLD = Path(os.environ.get("SCPO_TRANSFORMERS4", ROOT / ".venv/transformers4/bin/python"))
Old = dict[tuple[str, str], list[float]]
KINDS = ("bert", "deberta", "llama", "qwen2")


@pytest.fixture(scope="module")
def read_old(exports: Exports) -> Old:
    """Rewards by reader and kind, all of one process."""
    assert OLD.is_file(), f"transformers 4.51 and rewardbench: no {OLD}; `make interop` makes it"
    jobs = [("transformers", kind) for kind in KINDS]
    jobs += [("rewardbench", kind) for kind in ("llama", "qwen2", "deberta")]
    given = {
        "jobs": [(reader, str(exports(kind))) for reader, kind in jobs],
        "turns": CONVERSATIONS,
        "pairs": [*map(as_pair, CONVERSATIONS)],
    }
    ran = subprocess.run(
        [OLD, Path(__file__).with_name("read_old.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return dict(zip(jobs, json.loads(ran.stdout.splitlines()[-1]), strict=True))


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
