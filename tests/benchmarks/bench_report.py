"""The page of a large run: six countries, 40 searched settings each, curves and tested finals.

Timed is the whole command `scpo report RUN`, beside `python -c "import pandas, optuna"`, which is
what a reader of a ledger loads at least. Where Chromium and playwright are there, the page is
opened without a network: the time of its first paint, and what axe finds that is serious.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_many_trials import NUM_PAIRS, NUM_USERS, stub_record
from figures import figure_line, machine, spread

from scpo.config import parse_config
from scpo.statistics.accuracy import counts_by_user, layer_accuracies, pair_accuracy
from sweeps.config import SweepConfig
from sweeps.jobs.job import Job
from sweeps.ledger.records import AccuracyRecord, EvaluationRecord, TrialRecord, UserCounts
from sweeps.run.run_folder import open_run

COUNTRIES = ("Australia", "Canada", "Israel", "Mexico", "New Zealand", "South Africa")
NUM_TRIALS = 40  # of a country
CURVE_ARMS = {"full": 1.0, "scpo": 0.6, "random_k": 0.6}
BUDGETS = (0.125, 0.25, 0.5, 1.0)
FINAL_ARMS = ("global", "full", "filter", "weight", "scpo", "random_k", "user", "scpo_tuned")
ROUNDS = 3
AXE_SERIOUS = ("serious", "critical")
PAINT = "performance.getEntriesByName('first-contentful-paint')"


def make_jobs() -> Iterator[Job]:
    """Yield the jobs of a whole run."""
    generator = np.random.default_rng(0)
    shared: dict[str, Any] = {"learning_rate": 2e-5, "epochs": 2.0}
    for country in COUNTRIES:
        name = country.lower().replace(" ", "-")
        for number in range(NUM_TRIALS):
            retention = 1.0 if number == 0 else round(float(generator.uniform(0.2, 1.0)), 3)
            strength = 0.0 if number == 0 else round(float(generator.uniform(0.0, 3.0)), 3)
            yield Job(
                f"{name}-{number:04d}",
                "search",
                country,
                "scpo_tuned",
                seed=0,
                retention=retention,
                strength=strength,
                **shared,
            )
        for budget in BUDGETS:
            for arm, retention in CURVE_ARMS.items():
                for seed in (0, 1):
                    yield Job(
                        f"{name}-curve-{arm}-{budget}-{seed}",
                        "curve",
                        country,
                        arm,
                        seed=seed,
                        budget=budget,
                        retention=retention,
                        strength=0.0,
                        **shared,
                    )
        for arm in FINAL_ARMS:
            yield Job(
                f"{name}-final-{arm}",
                "final",
                country,
                arm,
                seed=0,
                retention=1.0,
                strength=0.0,
                **shared,
            )


def judge(job: Job) -> EvaluationRecord:
    """Return an evaluation of made-up margins, with every layer and count."""
    world = np.random.default_rng([COUNTRIES.index(job.country), job.part == "test"])
    user = np.repeat(
        [f"{job.part}-{number}" for number in range(NUM_USERS)], NUM_PAIRS // NUM_USERS
    )
    base, culture, length = world.normal(0.3, 1.0, (3, len(user)))
    learned = 0.0 if job.arm == "global" else job.budget**0.4 * (0.8 - 0.1 * (job.strength or 0))
    noise = np.random.default_rng(int(job.config_hash, 16)).normal(size=len(user))
    margin = base + learned * culture + (0.3 * noise if learned else 0)
    wrong = base < 0
    layers = layer_accuracies({"model": margin}, base, user)["model"]
    return EvaluationRecord(
        part=job.part,
        **{name: AccuracyRecord(**layer.as_dict()) for name, layer in layers.items()},
        global_overall=AccuracyRecord(**pair_accuracy(base, user).as_dict()),
        length=AccuracyRecord(**pair_accuracy(length, user).as_dict()),
        by_user=UserCounts(**counts_by_user(margin, user)),
        global_by_user=UserCounts(**counts_by_user(base, user)),
        distinctive_by_user=UserCounts(**counts_by_user(margin[wrong], user[wrong])),
    )


def make_record(job: Job) -> TrialRecord:
    """Return the record of a job, as long as a real one."""
    evaluation = judge(job)
    record = stub_record(job)
    objectives = {**record.objectives, "validation_accuracy": evaluation.overall.accuracy}
    labelled = round(NUM_PAIRS * job.budget)
    counts = {
        "pairs_available": float(NUM_PAIRS),
        "pairs_labelled": float(labelled),
        "pairs_trained": float(round(labelled * (job.retention or 0))),
    }
    objectives["pairs_trained"] = counts["pairs_trained"]
    return record.model_copy(
        update={"evaluation": evaluation, "objectives": objectives, "counts": counts}
    )


def seconds_of(command: list[str], folder: Path) -> float:
    """Return how long a process takes."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - started


def open_page(page: Path) -> dict[str, float] | None:
    """Return seconds to the first paint and serious findings of axe; None without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from axe_playwright_python.sync_playwright import Axe
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paints = []
        for _ in range(ROUNDS):
            view = browser.new_page()
            view.goto(page.as_uri())
            while not view.evaluate(
                f"{PAINT}.length"
            ):  # the page forbids code to be evaluated in it
                view.wait_for_timeout(20)
            paints.append(view.evaluate(f"{PAINT}[0].startTime / 1000"))
        found = Axe().run(view).response["violations"]
        browser.close()
    serious = sum(each["impact"] in AXE_SERIOUS for each in found)
    return {"paint_s": statistics.median(paints), "serious": serious}


def measure(folder: Path) -> list[str]:
    """Return the figures' lines."""
    run = folder / "run"
    config = {
        "name": "bench",
        "countries": list(COUNTRIES),
        "data": {"source": "synthetic"},
        "global_model": {"backbone": "none"},
    }
    ledger = open_run(parse_config(SweepConfig, config, "bench"), run, resume=False)
    records = [make_record(job) for job in make_jobs()]
    for record in records:
        ledger.append(record)
    ours, imports = [], []
    for _ in range(ROUNDS):
        ours.append(seconds_of([sys.executable, "-m", "scpo", "report", str(run)], folder))
        imports.append(seconds_of([sys.executable, "-c", "import pandas, optuna"], folder))
    page, on = run / "report.html", machine("no model")
    what = f"{len(records)} records of {len(COUNTRIES)} countries"
    lines = [
        figure_line(
            "scpo report: seconds",
            statistics.median(ours),
            "s",
            reach="<= 5",
            against=f'python -c "import pandas, optuna" in the detail; {what}',
            on=on,
            detail=spread(ours) | {"imports_s": statistics.median(imports)},
        ),
        figure_line(
            "scpo report: size",
            page.stat().st_size / 1e6,
            "MB",
            reach="<= 2",
            against="",
            on=on,
            detail={"records": len(records)},
        ),
    ]
    if (seen := open_page(page)) is not None:
        lines += [
            figure_line(
                "scpo report: first paint", seen["paint_s"], "s", reach="<= 1", against="", on=on
            ),
            figure_line(
                "scpo report: serious findings of axe",
                seen["serious"],
                "findings",
                reach="<= 0",
                against="",
                on=on,
            ),
        ]
    return lines


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
