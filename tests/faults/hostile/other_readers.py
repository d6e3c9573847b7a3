"""Readers of models, requests, files to score, settings and places, and valid ones of each."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from cluster.access.profile import load_profile
from cluster.jobs.fetch import unpack
from cluster.jobs.packing import ARCHIVE_PREFIX
from scpo.api.score_files import rerank_file, score_file
from scpo.api.server import RewardServer
from scpo.config import DataConfig, parse_options
from scpo.files.atomic import read_marker
from scpo.files.buckets import RemoteFolder
from scpo.models.folder.checks import check_weights, read_object
from scpo.models.folder.contract import FACTS_FILE, ModelFacts, verify_folder, write_facts
from scpo.models.model_source import PIN_FILE, find_model, pin_model
from scpo.text.settings import shorten
from scpo.tokens.chat_template import render_conversations
from scpo.training.checkpoints import find_damage
from sweeps.lanes.cells import finish_cells
from sweeps.ledger.weights_file import (
    UserWeight,
)
from sweeps.tracking.sent_memory import SentMemory
from tests.faults.hostile.json_readers import json_file, with_sum
from tests.faults.hostile.refusals import Reader
from tests.faults.hostile.strange_inputs import TEXTS, as_json, changed_bytes, changed_value

_TEMPLATE = (
    b"{% for message in messages %}{% if message['role'] not in ['user'] %}"
    b"{{ raise_exception('no') }}{% endif %}<|{{ message.role }}|>{{ message['content'] | trim }}"
    b"{% endfor %}{% set a = namespace(b=1) %}{{ a.b + 1 }}{{ messages | tojson }}"
)
_PROFILE = (
    b"metadata:\n  scpo:\n    address: http://127.0.0.1:8265\n    storage: /mnt/runs\n"
    b"    start: ray up x\n    end: ray down x\n    env_names: [HOME]\n"
)
_OVERRIDES = (b"path=a.jsonl", b"synthetic.seed=3", b"vetted={file: a}", b"on_bad_rows=stop")
_PLACES = (b"s3://bucket/folder", b"gs://bucket/a/b", b"s3://", b"/a/b", b"owner/name@main")
_REQUEST = {"query": ["ab", "ac"], "prompts": ["a", "a"]}
_TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
_ROWS = [{"prompt": "a", "response": "b"}, {"prompt": _TURNS[:1], "response": _TURNS[1:]}]
_LISTS = [{"prompt": "a", "responses": ["b", "c"]}, {"prompt": _TURNS[:1], "responses": ["b"]}]


class _Model:
    """Scores a text by its length."""

    source, max_tokens, overlong, precision, reads_pairs = None, 64, "drop", "fp32", True
    num_cut = 0

    def __call__(self, prompts: list[Any], responses: list[Any]) -> list[float]:
        return [float(len(response)) for response in responses]


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def other_readers(made: Path) -> list[Reader]:
    """Return the readers of models, cells, requests, files to score, settings and places."""
    cell = {"cell": {"seed": 1}, "result": [1.5, None]}
    pin: dict[str, Any] = {"asked": {"name": str(made), "revision": None}}
    pin["source"] = {"name": "a/b", "commit": "0" * 40, "base": None}
    (made / "config.json").write_text("{}")
    write_facts(made, ModelFacts())
    facts = json.loads((made / FACTS_FILE).read_text())
    manifest = {"step": 1, "losses": [0.5], "files": {"a": {"bytes": 0, "sha256": "0"}}}
    header = {"num_files": 1, "size": 3, "sha256": "0"}
    archive = b"".join(
        f"{ARCHIVE_PREFIX}{line}\n".encode() for line in (json.dumps(header), "YWJj")
    )
    tensors = save({"a": np.array([0.5, 1.5])})

    def read_facts(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        verify_folder(folder)

    def read_place(folder: Path) -> None:
        text = _text(folder / "place")
        find_model(text) if "://" not in text else RemoteFolder(text)

    def read_rows(folder: Path) -> None:
        score_file(_Model(), folder / "rows.jsonl", folder / "scored.jsonl", say=str)  # type: ignore[arg-type]

    def read_lists(folder: Path) -> None:
        rerank_file(_Model(), folder / "rows.jsonl", folder / "ranked.jsonl", say=str)  # type: ignore[arg-type]

    server = SimpleNamespace(model=_Model(), max_queries=4096, scoring=_Free())
    server._score = lambda *said: RewardServer._score(server, *said)  # type: ignore[arg-type]
    return [
        Reader(
            "scpo.json",
            FACTS_FILE,
            with_sum([facts], "sha256", 64) | changed_bytes([json.dumps(facts).encode()]),
            read_facts,
            named="",
        ),
        json_file(
            "config.json",
            "config.json",
            [{"a": [1, {"b": 2}]}],
            lambda folder: read_object(folder / "config.json"),
        ),
        json_file(
            "source of a model",
            PIN_FILE,
            [pin],
            lambda folder: pin_model(str(made), file=folder / PIN_FILE),
        ),
        Reader(
            "safetensors",
            "a.safetensors",
            changed_bytes([tensors]),
            lambda folder: check_weights(folder / "a.safetensors"),
        ),
        Reader(
            "cells",
            "a.json",
            with_sum([cell], "sum", 16) | changed_bytes([json.dumps(cell).encode()]),
            lambda folder: finish_cells(
                {"a": UserWeight("Chile", "u", 1, 0.1, 0.1)}, asdict, folder, str, num_processes=1
            ),
        ),
        json_file(
            "marker of a folder",
            ".scpo.json",
            [{"kind": "run", "format": 1, "files": ["a"]}],
            read_marker,
        ),
        json_file("manifest of a checkpoint", "MANIFEST.json", [manifest], find_damage),
        Reader(
            "memory of a tracker",
            "tracking/mlflow.jsonl",
            changed_bytes([_lines([{"run": "a"}, {"trial": "b", "sent": "c"}])]),
            lambda folder: SentMemory(folder, "mlflow", "a"),
        ),
        Reader(
            "archive of a job",
            "log",
            changed_bytes([archive]),
            lambda folder: unpack(_text(folder / "log"), "s", folder / "to", "a"),
            named="",
        ),
        Reader(
            "chat templates",
            "template",
            changed_bytes([_TEMPLATE]),
            lambda folder: render_conversations(_text(folder / "template"), {}, [_TURNS]),
            named="",
        ),
        Reader(
            "requests",
            "body",
            as_json(changed_value([_REQUEST, {"query": [_TURNS]}]), lines=False)
            | changed_bytes([json.dumps(_REQUEST).encode()]),
            lambda folder: RewardServer.rewards_of(server, (folder / "body").read_bytes()),  # type: ignore[arg-type]
            named="",
        ),
        Reader(
            "files to score",
            "rows.jsonl",
            as_json(changed_value([_ROWS]), lines=True) | changed_bytes([_lines(_ROWS)]),
            read_rows,
        ),
        Reader(
            "files to rank",
            "rows.jsonl",
            as_json(changed_value([_LISTS]), lines=True) | changed_bytes([_lines(_LISTS)]),
            read_lists,
        ),
        Reader(
            "settings by --set",
            "set",
            changed_bytes(_OVERRIDES) | _settings(),
            lambda folder: parse_options(DataConfig, {"source": "pairs"}, [_text(folder / "set")]),
            named="",
        ),
        Reader("places and hub names", "place", changed_bytes(_PLACES), read_place, named=""),
        Reader(
            "profiles",
            "a.yaml",
            changed_bytes([_PROFILE]),
            lambda folder: shorten(str(load_profile(str(folder / "a.yaml")))),
        ),
    ]


class _Free:
    """A lock that is free."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "replace")


def _settings() -> st.SearchStrategy[bytes]:
    values = st.sampled_from([text.encode("utf-8", "replace") for text in TEXTS])
    return values.map(lambda value: b"path=" + value)
