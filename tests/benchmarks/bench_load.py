"""From a pairs file to a plan, at ten thousand, a hundred thousand and a million interactions.

Each row of the file is an interaction of its own, with one pair; a user has six. The numbers in
the texts have as many digits at every size. Every round of a stage runs in a process of its own (a
tokenizer keeps the words that it has met), on the files that the stage before it wrote:

    prepare     the pairs file becomes interactions.parquet
    split       users become train, validation and test
    score       tokens and rewards, by a stub in place of the model; the caches are written
    pairs       the pairs of the table
    plan        each country's arrays from the caches, what every setting selects, and the work
    quarantine  a file in which all rows but a tenth are bad is prepared, and what was refused
                is read back; at a hundred thousand bad rows at most, which is what is listed

Time is CPU time, of the stage alone, the median of rounds; the peak is that of the whole process
with every import. Linear is a stage whose CPU time a row at a million is that at ten thousand, or
at a hundred thousand where ten thousand take less than a tenth of a second.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
from figures import figure_line, machine
from workload import load_minilm

from scpo.arrays import FloatArray, IntArray
from scpo.config import DataConfig, parse_config
from scpo.countries.build import SteeredCountries, steer_countries
from scpo.countries.reference_cache import score_with_cache
from scpo.data.interactions import read_interactions
from scpo.data.pairs import build_pairs
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.sources.prepare import prepare_source
from scpo.data.splits import SPLIT_FILE, read_split, split_users
from scpo.files.atomic import write_json
from scpo.models.reward_model import LoadedModel
from scpo.tokens.encoding import TokenizedTexts
from sweeps.config import SweepConfig
from sweeps.cost.selections import selection_rows
from sweeps.cost.work import Rate, work_rows

SIZES = {10_000: 5, 100_000: 1, 1_000_000: 1}  # interactions, and rounds
COUNTRIES = ("Chile", "Peru", "Kenya", "Japan", "Norway", "India", "Ghana", "Spain")
ROWS_PER_USER = 6
MOST_REFUSED = 100_000
MAX_TOKENS = 64
LINEAR = "<= 1.3"
LEAST_S = 0.1
MOST_GIB = "<= 4"
KIB_PER_GIB = 2**20


def write_pairs(file: Path, num_rows: int, *, num_bad: int = 0) -> None:
    """Write a pairs file; the first `num_bad` rows have no response that was chosen."""
    with file.open("w", encoding="utf-8") as handle:
        for row in range(num_rows):
            user = row // ROWS_PER_USER
            line = {
                "prompt": f"Question {row:07d}: what would you say to a neighbour?",
                "chosen": f"I would say that {row % 997} plain words go a long way.",
                "rejected": f"I would say nothing, for the {row % 991}th time.",
                "user": f"user-{user}",
                "country": COUNTRIES[user % len(COUNTRIES)],
            }
            if row < num_bad:
                line["chosen"] = ""
            handle.write(json.dumps(line) + "\n")


def run_prepare(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `prepare`; each stage reads outside of what is timed what it is given."""
    file = folder / "pairs.jsonl"
    if not file.is_file():
        write_pairs(file, num_rows)
    return partial(prepare_source, DataConfig(source="pairs", path=str(file)), folder / "data")


def run_split(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `split`."""
    table = read_interactions(folder / "data")
    assert table.num_rows == num_rows
    return lambda: write_json(folder / SPLIT_FILE, split_users(table, COUNTRIES))


def run_score(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `score`; every round has a cache of its own."""
    table, parts = read_interactions(folder / "data"), read_split(folder / SPLIT_FILE)
    reward = load_minilm()

    def score() -> None:
        rounds = len(list(folder.glob("cache-*")))
        _steer(table, parts, reward, folder / f"cache-{rounds}")

    return score


def run_pairs(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `pairs`."""
    table = read_interactions(folder / "data")
    return lambda: build_pairs(table)


def run_plan(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `plan`."""
    table, parts = read_interactions(folder / "data"), read_split(folder / SPLIT_FILE)
    reward, config = load_minilm(), _sweep_config()

    def plan() -> None:
        countries = _steer(table, parts, reward, folder / "cache-0").countries
        for data in countries.values():
            selection_rows(data)
        work_rows(config, countries, Rate(1e4, 3e4, "assumed"), 2)

    return plan


def run_quarantine(folder: Path, num_rows: int) -> Callable[[], object]:
    """Return the stage `quarantine`."""
    file, out = folder / "bad.jsonl", folder / "bad"
    num_bad = min(MOST_REFUSED, num_rows * 9 // 10)
    if not file.is_file():
        write_pairs(file, num_bad * 10 // 9, num_bad=num_bad)

    def refuse() -> None:
        prepare_source(DataConfig(source="pairs", path=str(file)), out)
        listed = sum(1 for _ in read_jsonl(out / "quarantine.jsonl", BadRows("stop")))
        assert listed == num_bad

    return refuse


STAGES = {
    "prepare": run_prepare,
    "split": run_split,
    "score": run_score,
    "pairs": run_pairs,
    "plan": run_plan,
    "quarantine": run_quarantine,
}


def measure_one(stage: str, folder: Path, num_rows: int) -> dict[str, float]:
    """Return CPU seconds of a stage in this process, and the peak of its memory in GiB."""
    run = STAGES[stage](folder, num_rows)
    started = time.process_time()
    run()
    took_s = time.process_time() - started
    peak = getrusage(RUSAGE_SELF).ru_maxrss / KIB_PER_GIB  # Linux counts it in KiB
    return {"seconds": took_s, "peak_gib": peak}


def main() -> None:
    """Measure every stage at every size and print two lines each, or measure the one named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    if given.stage is not None:
        print(json.dumps(measure_one(given.stage, given.folder, given.rows)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {
            rows: {
                stage: _measure_apart(stage, Path(folder) / str(rows), rows) for stage in STAGES
            }
            for rows in SIZES
        }
    for stage in STAGES:
        _print_figures(stage, {rows: stages[stage] for rows, stages in found.items()})


def _print_figures(stage: str, found: dict[int, dict[str, float]]) -> None:
    rows = {size: _rows_of(stage, size) for size in found}
    rate = {size: found[size]["seconds"] / rows[size] for size in found}
    large = max(found)
    small = next(size for size in found if found[size]["seconds"] >= LEAST_S or size * 10 == large)
    seconds = {f"{rows[size]}_rows_s": each["seconds"] for size, each in found.items()}
    name = f"{rows[large]:,} rows, {stage}"
    line = partial(figure_line, against="", on=machine("fp32"))
    ratio = rate[large] / rate[small]
    print(line(f"{name}: CPU time a row", ratio, "x", reach=LINEAR, detail=seconds))
    peaks = {f"{rows[size]}_rows_gib": each["peak_gib"] for size, each in found.items()}
    print(
        line(f"{name}: peak memory", found[large]["peak_gib"], "GiB", reach=MOST_GIB, detail=peaks)
    )


def _rows_of(stage: str, size: int) -> int:
    return min(size, MOST_REFUSED * 10 // 9) if stage == "quarantine" else size


def _measure_apart(stage: str, folder: Path, num_rows: int) -> dict[str, float]:
    """Return the median of what each round measured, in a process of its own."""
    folder.mkdir(exist_ok=True)
    words = ["--stage", stage, "--folder", str(folder), "--rows", str(num_rows)]
    command = [sys.executable, __file__, *words]
    rounds: list[dict[str, float]] = []
    for _ in range(SIZES[num_rows]):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{stage}, {num_rows:,} rows: {rounds}", file=sys.stderr, flush=True)
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _steer(
    table: object, parts: dict[str, str], reward: LoadedModel, cache: Path
) -> SteeredCountries:
    """Build the arrays of all countries, with rewards of a stub where the cache lacks them."""
    return steer_countries(
        table,
        COUNTRIES,
        reward,
        "0" * 64,
        split=parts,
        max_tokens=MAX_TOKENS,
        cache=cache,
        score=partial(score_with_cache, reward, score=_made_up_rewards),
    )


def _made_up_rewards(
    reward: LoadedModel, texts: TokenizedTexts, which: IntArray, **_: object
) -> FloatArray:
    return np.random.default_rng(int(which[0])).normal(size=len(which))


def _sweep_config() -> SweepConfig:
    raw = {
        "name": "load",
        "countries": list(COUNTRIES),
        "global_model": {"name": "unused"},
        "data": {"source": "prepared", "path": "unused"},
        "search": {"folds": 3},
    }
    return parse_config(SweepConfig, raw, "bench_load")


if __name__ == "__main__":
    main()
