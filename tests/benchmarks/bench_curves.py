"""Data-efficiency curves of six countries from heads on MiniLM's frozen features.

Five arms at five budgets with five seeds are 750 heads, each with its pull chosen on three inner
folds. Every country has 40 synthetic users with five interactions of four responses that have the
lengths of PRISM's, about 1200 pairs. Timed are the features of all training and validation texts,
then the heads and their intervals, then all files of the curves (fits, resampled fits, tables,
figures of the countries and of their pool). One figure leaves out the features, as where the
cache has them, one has them in. Reference rewards, which every command needs, are in neither.
Beside them stands how many heads per second the batch and a loop train, on one country and seed:
the loop takes the same heads one after the other by scipy's L-BFGS, with as many iterations.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from figures import figure_line, machine
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from workload import LONGEST_TOKENS, WORDS_PER_TOKEN, draw_lengths, load_minilm, save_model

from scpo.config import SplitConfig, SyntheticConfig
from scpo.countries.build import steer_countries
from scpo.countries.country_data import CountryData
from scpo.countries.features import KeptFeatures
from scpo.countries.pooling import reward_head
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.sources.synthetic import make_synthetic
from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_arm
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.statistics.user_folds import deal_users
from sweeps.config import CurvesConfig, HeadsConfig
from sweeps.curves.output.files import write_curve_files
from sweeps.curves.points import curve_points
from sweeps.jobs.job_inputs import labelled_pairs
from sweeps.ledger.records import TrialRecord
from sweeps.probe.choose_heads import choose_heads
from sweeps.probe.curves import curve_records
from sweeps.probe.probed_pairs import FeatureStore, probe_parts

NUM_COUNTRIES = 6
WIDER = 80.0  # a new head times this has margins with a standard deviation of about 1
CURVES = CurvesConfig(
    arms=("full", "scpo", "random_k", "filter", "weight"),
    budgets=(0.0625, 0.125, 0.25, 0.5, 1.0),
    seeds=(0, 1, 2, 3, 4),
)
LOOP_ROUNDS = 3
Probed = tuple[CountryData, ProbedPairs, ProbedPairs]


def make_interactions(seed: int) -> pa.Table:
    """Return interactions of six countries whose responses have been brought to drawn lengths."""
    world = make_synthetic(
        SyntheticConfig(
            num_countries=NUM_COUNTRIES, users_per_country=40, interactions_per_user=5, seed=seed
        )
    )
    rows = world.interactions.to_pylist()
    words = " ".join(text for row in rows for text in row["responses"]).split()
    generator = np.random.default_rng(seed)
    for row, lengths in zip(rows, draw_lengths(len(rows), generator), strict=True):
        missing = WORDS_PER_TOKEN * lengths - len(row["prompt"].split())
        starts = generator.integers(len(words), size=len(lengths)).tolist()
        for place, (start, wanted) in enumerate(zip(starts, missing.tolist(), strict=True)):
            text = row["responses"][place].split()
            more = (words[(start + at) % len(words)] for at in range(round(wanted) - len(text)))
            row["responses"][place] = " ".join([*text, *more])
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)


def prepare(reward: LoadedModel, folder: Path) -> dict[str, CountryData]:
    """Return the countries, scored by a model whose margins are as wide as a trained one's."""
    table = make_interactions(seed=0)
    countries = sorted(set(table["country"].to_pylist()))
    steered = steer_countries(
        table,
        countries,
        reward,
        content_hash(save_model(reward, folder / "model")),
        split=SplitConfig(),
        max_tokens=LONGEST_TOKENS,
        cache=folder,
        precision="fp32",
    )
    return steered.countries


def widen_margins(reward: LoadedModel, factor: float) -> None:
    """Multiply the head, so that rewards spread as a trained model's."""
    head = reward_head(reward)
    with torch.no_grad():
        head.weight.mul_(factor)
        if head.bias is not None:
            head.bias.mul_(factor)


def find_features(
    reward: LoadedModel, countries: dict[str, CountryData], folder: Path
) -> list[Probed]:
    """Return each country's pairs on the features of their texts."""
    store = FeatureStore(reward, KeptFeatures(folder, "head"), "fp32", None)
    return [(data, *probe_parts(store, data, lambda _: None)) for data in countries.values()]


def train_all(probed: list[Probed]) -> list[TrialRecord]:
    """Train and judge every head."""
    records = []
    for data, train, validation in probed:
        records += curve_records(data, train, validation, CURVES, HeadsConfig())
    return records


def fit_one(pairs: ProbedPairs, arm: str, l2: float, heads: HeadsConfig, seed: int) -> np.ndarray:
    """Return the change of one head from the global one, shape (D,)."""
    chosen = select_arm(arm, pairs.reference_margin, tau=heads.tau, beta=heads.beta, seed=seed)
    x = pairs.differences[chosen.keep].astype(np.float64)
    offset, share = pairs.offset[chosen.keep], chosen.weights[chosen.keep] / len(x)
    pull = l2 * float(np.square(pairs.differences).sum()) / (4 * len(pairs.offset))

    def loss(moved: np.ndarray) -> tuple[float, np.ndarray]:
        margin = offset + x @ moved
        value = -share @ log_expit(margin) + 0.5 * pull * moved @ moved
        return float(value), pull * moved - (share * expit(-margin)) @ x

    options = {"maxiter": heads.steps}
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options=options).x


def choose_one(pairs: ProbedPairs, arm: str, heads: HeadsConfig, seed: int) -> float:
    """Choose the pull of one arm on inner folds, train its head, and return the pull."""
    inner = deal_users(pairs.user, heads.inner_folds, seed=seed)
    worth = []
    for l2 in heads.l2:
        right, fit = 0, 0.0
        for fold in range(heads.inner_folds):
            seen, held = (pairs.take(np.flatnonzero(s)) for s in (inner != fold, inner == fold))
            margin = held.offset + held.differences @ fit_one(seen, arm, l2, heads, seed)
            right, fit = right + int(np.sum(margin > 0)), fit + float(log_expit(margin).sum())
        worth.append((right, fit, l2))
    best = max(worth)[-1]
    fit_one(pairs, arm, best, heads, seed)
    return best


def compare_with_loop(data: CountryData, train: ProbedPairs) -> dict[str, float]:
    """Return heads per second of the batch and of a loop, and how often both choose one pull."""
    heads, seed, numbers = HeadsConfig(), CURVES.seeds[0], data.pairs_in("train")
    ours_s, loop_s, same = [], [], 0
    for _ in range(LOOP_ROUNDS):
        same, taken = 0, [0.0, 0.0]
        for budget in CURVES.budgets:
            labelled = labelled_pairs(data, budget, seed)
            labelled = labelled[np.argsort(data.reference_margin[labelled], kind="stable")]
            pairs = train.take(np.searchsorted(numbers, labelled))
            started = time.perf_counter()
            chosen = choose_heads(pairs, heads, seed=seed, arms=CURVES.arms)
            between = time.perf_counter()
            pulls = [choose_one(pairs, arm, heads, seed) for arm in CURVES.arms]
            taken[0] += between - started
            taken[1] += time.perf_counter() - between
            same += sum(
                chosen[a].candidate.l2 == p for a, p in zip(CURVES.arms, pulls, strict=True)
            )
        ours_s.append(taken[0])
        loop_s.append(taken[1])
    num_heads = len(CURVES.budgets) * len(CURVES.arms)
    return {
        "heads_per_s": num_heads / statistics.median(ours_s),
        "loop_heads_per_s": num_heads / statistics.median(loop_s),
        "ratio_to_loop": statistics.median(b / a for a, b in zip(ours_s, loop_s, strict=True)),
        "share_of_equal_pulls": same / num_heads,
    }


def measure(folder: Path) -> list[str]:
    """Return the figures' lines."""
    reward = load_minilm()
    widen_margins(reward, WIDER)
    countries = prepare(reward, folder)
    started = time.perf_counter()
    probed = find_features(reward, countries, folder / "features")
    features_s = time.perf_counter() - started
    records = train_all(probed)
    heads_s = time.perf_counter() - started - features_s
    failed = sum(record.state == "failed" for record in records)
    write_curve_files(curve_points(records), folder / "run")
    curves_s = time.perf_counter() - started - features_s
    detail = {
        "features_s": features_s,
        "heads_s": heads_s,
        "files_s": curves_s - heads_s,
        "heads": len(records),
        "heads_failed": failed,
        "training_pairs": sum(len(train.offset) for _, train, _ in probed),
        "share_kept_by_scpo": share_kept(records),
        **compare_with_loop(*probed[0][:2]),
    }
    what = f"curves of {NUM_COUNTRIES} countries x 5 arms x 5 sizes x 5 seeds, MiniLM heads"
    return [
        figure_line(
            f"{what}, {told}",
            seconds,
            "s",
            reach="<= 180",
            against="",
            on=machine("fp32"),
            detail=detail,
        )
        for told, seconds in (
            ("features known", curves_s),
            ("features included", curves_s + features_s),
        )
    ]


def share_kept(records: list[TrialRecord]) -> float:
    """Return the share of labelled pairs that scpo trains on."""
    mine = [record.counts for record in records if record.arm == "scpo"]
    return sum(c["pairs_trained"] for c in mine) / sum(c["pairs_labelled"] for c in mine)


def main() -> None:
    """Measure, and print a JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run").mkdir()
        for line in measure(Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
