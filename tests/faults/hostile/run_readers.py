"""Readers of what lies in a run, and valid files of each."""

import json
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from scpo.config import load_config
from scpo.data.interactions import read_interactions
from scpo.data.pairs import build_pairs
from scpo.data.sources.vetted import mark_vetted
from scpo.data.splits import keep_split, read_split
from scpo.files.atomic import hash_values
from sweeps.config import SweepConfig
from sweeps.ledger.records import Ledger, read_records
from sweeps.ledger.salvage import salvage_lines
from sweeps.ledger.weights_file import (
    UserWeight,
    count_weights,
    read_user_weights,
    write_user_weights,
)
from sweeps.run.pins import RUN_FILE, check_pins, read_run_file
from sweeps.search.journal import JOURNAL
from sweeps.search.open_study import open_study
from tests.faults.hostile.json_readers import is_plain, json_file, with_sum
from tests.faults.hostile.refusals import Reader
from tests.faults.hostile.strange_inputs import as_json, changed_bytes, changed_value

ROOT = Path(__file__).parents[3]


def _journal(folder: Path) -> bytes:
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(study_name="Chile", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=2)
    return (folder / JOURNAL).read_bytes()


def _weights(folder: Path) -> bytes:
    write_user_weights([UserWeight("Chile", "u", 3, 0.1, 0.5)] * 3, folder)
    return (folder / "user_weights.csv").read_bytes()


def run_readers(run: Path, made: Path) -> list[Reader]:
    """Return the readers of what lies in a run: of a finished one; `made` is an empty folder."""
    config, ledger = (run / "config.yaml").read_bytes(), (run / "trials.jsonl").read_bytes()
    pins = json.loads((run / RUN_FILE).read_text())
    split = json.loads((run / "split.json").read_text())
    table = (run / "data" / "interactions.parquet").read_bytes()
    interactions = read_interactions(run / "data")
    users = sorted(set(interactions["user_id"].to_pylist()))
    countries = interactions["country"].unique().to_pylist()
    kept = {name: dict.fromkeys(users[:3], "train") for name in countries}
    bodies = [json.loads(line.partition(b', "sum": ')[0] + b"}") for line in ledger.splitlines()]
    shipped = [path.read_bytes() for path in sorted((ROOT / "sweeps" / "configs").glob("*.yaml"))]
    kept_split = {"sum": hash_values(kept)[:16], "countries": kept}

    def read_ledger(folder: Path) -> None:
        salvage_lines(folder / "trials.jsonl")
        read_records(folder / "trials.jsonl")
        Ledger(folder)

    def read_pins(folder: Path) -> None:
        read_run_file(folder)
        check_pins(folder)

    return [
        Reader(
            "config YAML",
            "a.yaml",
            changed_bytes([config, *shipped]),
            lambda folder: load_config(SweepConfig, folder / "a.yaml"),
        ),
        Reader(
            "ledger",
            "trials.jsonl",
            changed_bytes([ledger]) | as_json(changed_value([bodies]), lines=True),
            read_ledger,
        ),
        json_file(
            "run's split", "split.json", [split], lambda folder: read_split(folder / "split.json")
        ),
        Reader(
            "kept split",
            "split.json",
            as_json(changed_value([kept_split]), lines=False)
            | changed_value([kept])
            .filter(is_plain)
            .map(
                lambda value: json.dumps(
                    {"sum": hash_values(value)[:16], "countries": value}
                ).encode()
            ),
            lambda folder: keep_split(folder, interactions, countries[:1]),
        ),
        Reader(
            "pins",
            RUN_FILE,
            with_sum([pins], "sum", 16) | changed_bytes([json.dumps(pins).encode()]),
            read_pins,
            named="",
        ),
        Reader(
            "Optuna's journal",
            JOURNAL,
            changed_bytes([_journal(made)]),
            lambda folder: open_study(folder, "Chile").trials,
        ),
        Reader(
            "weights of users",
            "user_weights.csv",
            changed_bytes([_weights(made)]),
            lambda folder: [count_weights(rows) for rows in read_user_weights(folder).values()],
        ),
        Reader(
            "interactions",
            "interactions.parquet",
            changed_bytes([table]),
            lambda folder: build_pairs(read_interactions(folder)),
            named="nteraction",
        ),
        Reader(
            "vetted users",
            "vetted",
            changed_bytes(["\n".join(users).encode(), "\r\n".join(users).encode("utf-8-sig")]),
            lambda folder: mark_vetted(interactions, folder / "vetted"),
        ),
    ]
