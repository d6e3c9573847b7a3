"""What a sweep would select and cost, before anything is trained.

From reference rewards alone: per country, tau and beta the pairs kept, their effective number
and the distribution of weights; and the work (`sweeps.cost.work`). Nothing is trained and no GPU
is needed; texts without a reference reward are scored first.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from scpo.arrays import FloatArray
from scpo.countries.country_data import CountryData
from scpo.files.csv_files import write_csv
from scpo.method.arms import select_arm
from scpo.method.strength import margin_scale
from scpo.method.weighting import PAPER_BETA, effective_pairs
from scpo.text.progress import format_seconds
from scpo.text.terminal_table import terminal_table
from sweeps.config import Say, SweepConfig
from sweeps.cost.planned_power import describe_power_before
from sweeps.cost.work import Rate, WorkRow, lanes_here, rate_of_records, time_model, work_rows
from sweeps.jobs.folds import choose_folds, describe_folds
from sweeps.ledger.records import read_records
from sweeps.ledger.weights_file import UserWeight
from sweeps.probe.user_features import with_user_features, write_weights_of
from sweeps.run.inputs import prepare_all
from sweeps.run.run_folder import kept_folds, with_folds

TAUS = (0.5, 0.6, 0.7, 1.0)
BETAS = (0.5, PAPER_BETA, 2.5, math.inf)
_NUM_BINS = 10
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class SelectionRow:
    """What one (tau, beta) selects of a country's training pairs."""

    country: str
    tau: float  # filter threshold
    beta: float  # weighting temperature; infinity for no weighting
    retention: float  # share of the pairs kept
    strength: float  # scale / beta
    pairs_available: int  # training pairs
    pairs_kept: int
    effective_pairs: float  # Kish's effective number of the weights
    share_of_weight_1: float  # of the kept pairs
    histogram: tuple[int, ...]  # kept pairs by weight, in ten bins of equal width from 0 to 1


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before it starts."""

    selections: list[SelectionRow]  # by country, tau and beta
    work: list[WorkRow]  # by kind, and the total last
    rate: Rate  # what the hours assume
    num_lanes: int  # trainings at a time
    users: list[UserWeight]  # of the arm `user`, where users can be weighed


def run_plan(
    config: SweepConfig,
    run: Path,
    say: Say,
    *,
    ledger: Path | None = None,
    num_lanes: int | None = None,
) -> SweepPlan:
    """Plan a sweep and write `plan.csv`, `plan_work.csv`, `user_weights.csv` into a run's folder.

    Nothing is trained. The folder gets the data, and a trained global model is looked for there;
    texts without a reference reward are scored, which is reported. `ledger`, a file or run folder
    of an earlier run on the same kind of device, gives its times; without it the model is timed.
    Without `num_lanes`, as many trainings run at a time as this machine holds.

    Raises:
        ValueError: The data do not suffice.
        FileNotFoundError: No such ledger.
        RuntimeError: The global model would have to be trained first, or not one lane fits.
    """
    lanes = num_lanes or lanes_here(config.lanes)
    if config.global_model.name is None and not (run / "global" / "config.json").is_file():
        raise RuntimeError(
            f"A plan reads the global model's rewards, but {run / 'global'} holds no trained "
            "model and a plan trains none. Give the folder of a run that has one as --out, or "
            "train it: scpo train-global, then --set global_model.name=FOLDER."
        )
    model, steered = prepare_all(config, run, say)
    countries = with_user_features(config, steered.countries, model, say)
    config = kept_folds(config, run)
    if config.search.folds is None:
        folds = choose_folds(countries.values())
        config = with_folds(config, folds)
        say(describe_folds(folds))
    rate = None if ledger is None else rate_of_records(read_records(ledger), countries)
    if rate is None:
        if ledger is not None:
            say(f"{ledger} has no training of these countries, so the model is timed instead")
        rate = time_model(config, model, countries)
    say(f"rate: {rate.source}")
    say(describe_power_before(countries.values(), config.search.num_folds))
    selections = [row for data in countries.values() for row in selection_rows(data)]
    users = write_weights_of(config, countries, run)
    plan = SweepPlan(selections, work_rows(config, countries, rate, lanes), rate, lanes, users)
    write_plan(plan, run)
    return plan


def selection_rows(
    data: CountryData, taus: Sequence[float] = TAUS, betas: Sequence[float] = BETAS
) -> list[SelectionRow]:
    """Return what each tau and beta selects of a country's training pairs.

    Raises:
        ValueError: A tau or beta is out of range, or the reference margins do not differ.
    """
    margin = data.reference_margin[data.pairs_in("train")]
    scale = margin_scale(margin)
    rows = []
    for tau, beta in itertools.product(taus, betas):
        selection = select_arm("scpo", margin, tau=tau, beta=beta)
        kept = selection.weights[selection.keep]
        rows.append(
            SelectionRow(
                country=data.country,
                tau=tau,
                beta=beta,
                retention=len(kept) / len(margin),
                strength=scale / beta,
                pairs_available=len(margin),
                pairs_kept=len(kept),
                effective_pairs=effective_pairs(kept),
                share_of_weight_1=float(np.mean(kept == 1.0)) if len(kept) else 0.0,
                histogram=weight_histogram(kept),
            )
        )
    return rows


def weight_histogram(weights: FloatArray) -> tuple[int, ...]:
    """Return how many weights lie in each of ten bins of [0, 1]; 1 itself is in the last."""
    counts, _ = np.histogram(weights, bins=_NUM_BINS, range=(0.0, 1.0))
    return tuple(int(count) for count in counts)


def histogram_bars(histogram: Sequence[int]) -> str:
    """Return counts as one bar a bin, the highest full; an empty bin is a space."""
    highest = max(max(histogram), 1)
    full = len(_BARS) - 1
    return "".join(_BARS[math.ceil(full * count / highest)] for count in histogram)


def write_plan(plan: SweepPlan, run: Path) -> None:
    """Write `plan.csv` (selections) and `plan_work.csv`, each whole or not at all."""
    bins = [f"weights_to_{(number + 1) / _NUM_BINS:g}" for number in range(_NUM_BINS)]
    rows = [asdict(row) for row in plan.selections]
    for row in rows:
        row.update(zip(bins, row.pop("histogram"), strict=True))
        row["beta"] = None if math.isinf(row["beta"]) else row["beta"]
    write_csv(list(rows[0]), rows, run / "plan.csv")
    work = [asdict(row) for row in plan.work]
    write_csv(list(work[0]), work, run / "plan_work.csv")


def selection_table(plan: SweepPlan) -> Table:
    """Return what each setting selects, as a table for the terminal."""
    columns = ("tau", "beta", "strength", "kept", "effective", "weight 1", "weights 0 to 1")
    lines = [
        (
            row.country,
            f"{row.tau:g}",
            "none" if math.isinf(row.beta) else f"{row.beta:g}",
            f"{row.strength:.2g}",
            f"{row.pairs_kept} of {row.pairs_available} ({100 * row.retention:.0f} %)",
            f"{row.effective_pairs:.0f}",
            f"{100 * row.share_of_weight_1:.0f} %",
            f"|{histogram_bars(row.histogram)}|",
        )
        for row in plan.selections
    ]
    sections = (group for _, group in itertools.groupby(lines, key=lambda line: line[0]))
    title, left = "Pairs selected, training users", ("country", columns[-1])
    return terminal_table(title, ("country", *columns), sections, left=left)


def work_table(plan: SweepPlan) -> Table:
    """Return trainings and hours as a table for the terminal."""
    columns = ("trainings", "tokens trained", "tokens judged", "device-hours", "wall time")
    lines: list[tuple[object, ...]] = [
        (
            row.kind,
            row.trainings,
            f"{row.train_tokens:,.0f}",
            f"{row.judge_tokens:,.0f}",
            f"{row.device_h:.2f}",
            format_seconds(3600 * row.wall_h),
        )
        for row in plan.work
    ]
    total = tuple(Text(str(cell), "bold") for cell in lines.pop())
    title = f"Work, {plan.num_lanes} at a time"
    return terminal_table(
        title, ("", *columns), [[*lines, total]], left=("",), caption=plan.rate.source
    )
