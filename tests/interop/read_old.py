"""Rewards as transformers 4 and rewardbench give them; jobs and conversations come on stdin.

It runs in the environment of `make_environment.sh`, without this project. A job is a reader and a
folder; what a reader raises stands in the place of its rewards.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    __version__,
)


def read_with_transformers(
    folder: str, given: dict[str, Any], *, rendered: bool = False
) -> list[float]:
    """Return rewards of the templates' conversations, or of an encoder's text pairs."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    shape = {"padding": True, "return_tensors": "pt"}
    if not rendered and (Path(folder) / "modules.json").is_file():  # as of a CrossEncoder
        inputs = tokenizer(given["pairs"], **shape)
    else:
        inputs = tokenizer.apply_chat_template(given["turns"], return_dict=True, **shape)
        inputs.pop("token_type_ids", None)
    with torch.no_grad():
        return model(**inputs).logits[:, 0].tolist()


def read_with_template(folder: str, given: dict[str, Any]) -> list[float]:
    """Return rewards of the templates' conversations."""
    return read_with_transformers(folder, given, rendered=True)


def read_with_rewardbench(folder: str, given: dict[str, Any]) -> list[float]:
    """Return rewards as rewardbench.py gets them: its default pipeline, padded at the left.

    It sends its inputs to "cuda" whatever there is, so here they stay where they are.
    """
    from rewardbench import REWARD_MODEL_CONFIG  # only in its environment

    BatchEncoding.to = lambda self, device: self
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    texts = [tokenizer.apply_chat_template(each, tokenize=False) for each in given["turns"]]
    reader = REWARD_MODEL_CONFIG["default"]
    model = reader["model_builder"](folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    scorer = reader["pipeline_builder"]("text-classification", model=model, tokenizer=tokenizer)
    return scorer(texts, truncation=False, padding=True, max_length=2048)[:, 0].tolist()


READERS = {
    "transformers": read_with_transformers,
    "template": read_with_template,
    "rewardbench": read_with_rewardbench,
}


def read(reader: str, folder: str, given: dict[str, Any]) -> list[float] | str:
    """Return the rewards of a reader, or what it raised."""
    try:
        return READERS[reader](folder, given)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    assert __version__.startswith("4.51."), __version__
    given = json.load(sys.stdin)
    print(json.dumps([read(*job, given) for job in given["jobs"]]))
