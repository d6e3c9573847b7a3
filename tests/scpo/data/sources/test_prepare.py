import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scpo.config import DataConfig, SyntheticConfig
from scpo.data.interactions import read_interactions
from scpo.data.sources.prepare import (
    CountryCounts,
    PrepareSummary,
    prepare_source,
    summary_table,
)

PAIRS = [
    {"user": "u1", "country": "Chile", "prompt": "Sky?", "chosen": "blue", "rejected": "red"},
    {"user": "u1", "country": "Chile", "prompt": "Sky?", "chosen": "blue", "rejected": "grey"},
    {"user": "u2", "country": "Chile", "prompt": "Sky?", "chosen": "red", "rejected": "blue"},
    {"user": "u3", "country": "Canada", "prompt": "Sea?", "chosen": "wet", "rejected": "dry"},
    {"user": "u3", "country": "Canada", "prompt": "Sea?", "chosen": "wet", "rejected": "wet"},
]


def prepare(source: Any, path: Path | None, out: Path, **options: Any) -> PrepareSummary:
    config = DataConfig(source=source, path=None if path is None else str(path), **options)
    return prepare_source(config, out)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_prism(folder: Path) -> Path:
    folder.mkdir()
    write(folder / "survey.jsonl", [{"user_id": "u1", "location": {"reside_country": "Viet Nam"}}])
    scores = {"a": 10, "b": 10, "c": 30, "d": 200}
    rows = [
        {
            "utterance_id": text,
            "interaction_id": "i",
            "user_id": "u1",
            "turn": 0,
            "user_prompt": "Sky?",
            "model_response": text,
            "score": score,
        }
        for text, score in scores.items()
    ]
    write(folder / "utterances.jsonl", rows)
    return folder


def test_pairs_source(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", PAIRS)
    out = tmp_path / "out"
    summary = prepare("pairs", path, out)
    assert summary.countries == {
        "Canada": CountryCounts(users=1, interactions=1, responses=2, pairs=1, ties=0),
        "Chile": CountryCounts(users=2, interactions=2, responses=5, pairs=3, ties=0),
    }
    assert summary.rejected == {"chosen_equals_rejected": 1}
    assert summary.num_rows_read == 5
    assert summary.files == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    assert sorted(file.name for file in out.iterdir()) == [
        "interactions.parquet",
        "quarantine.jsonl",
        "summary.json",
    ]
    written = json.loads((out / "summary.json").read_text())
    assert written["countries"]["Chile"]["pairs"] == 3
    assert written["options"]["columns"]["user"] == "user"
    assert json.loads((out / "quarantine.jsonl").read_text())["line"] == 5
    table = read_interactions(out)
    assert table["country"].to_pylist() == ["Canada", "Chile", "Chile"]


def test_prism_source_counts_ties(tmp_path: Path) -> None:
    folder = write_prism(tmp_path / "prism")
    summary = prepare("prism", folder, tmp_path / "out")
    assert summary.countries == {
        "Vietnam": CountryCounts(users=1, interactions=1, responses=3, pairs=2, ties=1)
    }
    assert summary.rejected == {"score_out_of_range": 1}
    assert set(summary.files) == {
        str(folder / "survey.jsonl"),
        str(folder / "utterances.jsonl"),
    }


def test_synthetic_source_writes_the_truth_and_others_remove_it(tmp_path: Path) -> None:
    options = SyntheticConfig(num_countries=2, users_per_country=3, seed=4)
    summary = prepare("synthetic", None, tmp_path / "out", synthetic=options)
    assert summary.countries["Arvandia"].interactions == 18
    assert summary.options == options.model_dump()
    truth = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert set(truth["country_weights"]) == {"Arvandia", "Belmora"}
    prepare("pairs", write(tmp_path / "pairs.jsonl", PAIRS), tmp_path / "out")
    assert not (tmp_path / "out" / "truth.json").exists()


def test_stop_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(ValueError, match=r"pairs\.jsonl:5: field 'rejected'"):
        prepare("pairs", path, tmp_path / "out", on_bad_rows="stop")
    assert not (tmp_path / "out").exists()


def test_nothing_usable_says_why_and_keeps_the_quarantine(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}] * 2
    path = write(tmp_path / "pairs.jsonl", rows)
    match = r"2 rows read, refused 2 \(user_without_country 2\)\. The first: \S+:1: A country"
    with pytest.raises(ValueError, match=match):
        prepare("pairs", path, tmp_path / "out")
    assert len((tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()) == 2
    tie = {"prompt": "p", "answers": [{"answer": text, "rank": 1} for text in "ab"]}
    ties = write(tmp_path / "ties.jsonl", [tie])
    with pytest.raises(ValueError, match=r"refused 0; rows in which no response is preferred"):
        prepare("pairs", ties, tmp_path / "out")
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(ValueError, match="0 rows read, refused 0"):
        prepare("pairs", empty, tmp_path / "out")


def test_shuffled_input_gives_the_same_bytes(tmp_path: Path) -> None:
    generator = random.Random(3)
    rows = [
        {
            "user": f"u{generator.randrange(9)}",
            "country": generator.choice(["Chile", "Canada"]),
            "prompt": generator.choice(["Sky?", "Sea?"]),
            "chosen": generator.choice("abcde"),
            "rejected": generator.choice("abcde"),
        }
        for _ in range(120)
    ]
    files = set()
    for number in range(3):
        path = write(tmp_path / f"{number}.jsonl", random.Random(number).sample(rows, len(rows)))
        prepare("pairs", path, tmp_path / str(number))
        files.add((tmp_path / str(number) / "interactions.parquet").read_bytes())
    assert len(files) == 1


def test_printed_table(tmp_path: Path) -> None:
    rows = [*PAIRS, PAIRS[0] | {"country": "[red]Land", "user": "u9"}]
    summary = prepare("pairs", write(tmp_path / "pairs.jsonl", rows), tmp_path / "out")
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(summary_table(summary))
    lines = captured.get().splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert cells == [
        ["Canada", "1", "1", "2", "1", "0"],
        ["Chile", "2", "2", "5", "3", "0"],
        ["[red]Land", "1", "1", "2", "1", "0"],
        ["all", "4", "4", "9", "5", "0"],
    ]
    assert any("6 rows read" in line for line in lines)
    refused = "refused (quarantine.jsonl): 1 (chosen_equals_rejected 1)"
    assert refused in [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("source", "path", "match"),
    [
        ("prepared", None, "`prepared`: there is nothing to prepare"),
        ("pairs", None, "needs the path of a file"),
        ("synthetic", Path("x.jsonl"), "reads no file, but got the path x.jsonl"),
    ],
)
def test_bad_options(tmp_path: Path, source: str, path: Path | None, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        prepare(source, path, tmp_path / "out")


@pytest.mark.data
def test_real_part_of_prism(data_folder: Path, tmp_path: Path) -> None:
    summary = prepare("prism", data_folder / "prism", tmp_path)
    counts = summary.countries.values()
    assert sum(count.users for count in counts) == 310
    assert sum(count.pairs for count in counts) == 2731
    assert sum(count.ties for count in counts) == 1336
    assert summary.countries["South Africa"].users == 43
