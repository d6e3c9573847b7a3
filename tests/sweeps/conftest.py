"""A small ledger as a sweep writes it, from simulated margins."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scpo.config import SplitConfig, SyntheticConfig, TrainingConfig
from scpo.countries.build import steer_countries
from scpo.data.sources.synthetic import make_synthetic
from scpo.models.loading import load_reward_model
from scpo.models.model_source import find_model
from scpo.models.reward_model import content_hash
from scpo.statistics.accuracy import counts_by_user, layer_accuracies, pair_accuracy
from sweeps.ledger.records import AccuracyRecord, EvaluationRecord, Ledger, TrialRecord, UserCounts
from sweeps.ranking.ranking import rank_records
from sweeps.run.workspace import Workspace
from tests.saved_model import save_reward_model

COUNTRIES = {"Chile": 5, "Mexico": 4, "South Africa": 6}  # users on either part
PAIRS_AVAILABLE = {"Chile": 240, "Mexico": 160, "South Africa": 310}
FINAL_ARMS = ("global", "full", "filter", "weight", "inverse", "random_k", "scpo", "scpo_tuned")


class World:
    """Margins of pairs of one country's users on one part, the same at every call."""

    def __init__(self, country: str, part: str) -> None:
        self.part = part
        number = list(COUNTRIES).index(country)
        rng = np.random.default_rng([number, part == "test"])
        sizes = rng.integers(6, 13, COUNTRIES[country])
        prefix = f"{country[:3].lower()}-{part[0]}"
        self.user = np.repeat([f"{prefix}{i}" for i in range(len(sizes))], sizes)
        self.shared = rng.normal(0.3, 1.0, len(self.user))
        self.culture = rng.normal(0.4, 0.7, len(self.user))
        self.length = rng.normal(0.2, 1.0, len(self.user))

    def evaluate(self, learned: float, noise: float, seed: int) -> EvaluationRecord:
        rng = np.random.default_rng(seed)
        margin = self.shared + learned * self.culture + noise * rng.normal(size=len(self.user))
        wrong = self.shared < 0
        layers = layer_accuracies({"model": margin}, self.shared, self.user)["model"]
        return EvaluationRecord(
            part=self.part,
            **{name: AccuracyRecord(**layer.as_dict()) for name, layer in layers.items()},
            global_overall=AccuracyRecord(**pair_accuracy(self.shared, self.user).as_dict()),
            length=AccuracyRecord(**pair_accuracy(self.length, self.user).as_dict()),
            by_user=UserCounts(**counts_by_user(margin, self.user)),
            global_by_user=UserCounts(**counts_by_user(self.shared, self.user)),
            distinctive_by_user=UserCounts(**counts_by_user(margin[wrong], self.user[wrong])),
        )


def record(
    trial_id: str,
    purpose: str,
    country: str,
    arm: str,
    *,
    learned: float,
    noise: float = 0.3,
    retention: float = 1.0,
    strength: float = 0.0,
    budget: float = 1.0,
    seed: int = 0,
    drop: float = -0.05,
) -> TrialRecord:
    available = PAIRS_AVAILABLE[country]
    trained = 0 if arm == "global" else round(available * budget * retention)
    part = "test" if purpose == "final" else "validation"
    evaluation = World(country, part).evaluate(learned, noise, seed)
    return TrialRecord(
        trial_id=trial_id,
        purpose=purpose,
        country=country,
        arm=arm,
        state="complete",
        config={
            "retention": retention,
            "strength": strength,
            "learning_rate": 2e-5,
            "epochs": 2,
            "budget": budget,
        },
        config_hash=f"{abs(hash((retention, strength, budget))):016x}"[:12],
        seed=seed,
        objectives={
            "validation_accuracy": evaluation.overall.accuracy,
            "pairs_trained": float(trained),
        },
        constraints={"consensus_drop": drop},
        evaluation=evaluation,
        setting={
            "tau": 0.5 + 0.5 * retention if retention < 1 else 1.0,
            "beta": 1.1 / strength if strength else None,
            "margin_scale": 1.1,
        },
        counts={
            "pairs_available": float(available),
            "pairs_labelled": float(round(available * budget)),
            "pairs_trained": float(trained),
            "effective_pairs": trained * 0.8,
            "steps": trained / 4,
        },
        times={"started": "2026-05-04T09:30:00+00:00", "wall_s": 42.0, "train_s": 31.5},
        engine="torch",
        versions={"python": "3.11.9", "torch": "2.13.0", "scpo": "0.1.0"},
        commit="0123456789abcdef0123456789abcdef01234567",
    )


def search_trial(
    trial_id: str,
    correct: list[int],
    pairs_trained: float,
    *,
    drop: float = -0.1,
    state: str = "complete",
    country: str = "Mexico",
    num_pairs: int = 10,
    glob: list[int] | None = None,
    full: bool = False,
) -> TrialRecord:
    """A search trial whose users each have `num_pairs` pairs.

    The global model orders `glob` of them right, by default one or two; `full` is plain
    fine-tuning.
    """
    users = list("abcd")[: len(correct)]
    total = num_pairs * len(users)
    share = min(1.0, sum(correct) / total) if total else None  # counts may be made not to fit
    accuracy = AccuracyRecord(
        accuracy=share, low=None, high=None, pairs=total, users=len(users), ties=0
    )
    counts = UserCounts(users=users, pairs=[num_pairs] * len(users), correct=correct)
    glob = [1 + number % 2 for number in range(len(users))] if glob is None else glob
    of_global = counts.model_copy(update={"correct": glob})
    share = sum(glob) / total if total else None
    evaluation = EvaluationRecord(
        part="validation",
        overall=accuracy,
        distinctive=accuracy,
        consensus=accuracy,
        global_overall=accuracy.model_copy(update={"accuracy": share}),
        length=accuracy,
        by_user=counts,
        global_by_user=of_global,
    )
    return TrialRecord(
        trial_id=trial_id,
        purpose="search",
        country=country,
        arm="scpo_tuned",
        state=state,
        config={
            "retention": 1.0 if full else 0.41,
            "strength": 0.0 if full else 1.2,
            "learning_rate": 1e-5,
            "epochs": 2,
        },
        config_hash=trial_id,
        seed=0,
        objectives={"pairs_trained": pairs_trained},
        constraints={"consensus_drop": drop},
        evaluation=evaluation if state == "complete" else None,
        setting={"tau": 0.62, "beta": 0.9, "margin_scale": 1.1},
        error="boom" if state == "failed" else None,
    )


def make_records() -> list[TrialRecord]:
    """Three countries with 8 searched trials each, curves, finals, and one failed trial."""
    records = []
    for country in COUNTRIES:
        for number in range(8):
            retention = 0.3 + 0.1 * number
            records.append(
                record(
                    f"search-{country}-{number}",
                    "search",
                    country,
                    "scpo_tuned",
                    learned=0.2 + 0.1 * number,
                    retention=round(retention, 2),
                    strength=0.0 if number == 7 else 0.4 * number,
                    seed=number,
                    drop=0.04 if number == 1 else -0.03,
                )
            )
        for budget in (0.125, 0.25, 0.5, 1.0):
            for arm, retention, gain in (
                ("full", 1.0, 1.0),
                ("scpo", 0.6, 1.1),
                ("random_k", 0.6, 0.7),
            ):
                for seed in (0, 1):
                    records.append(
                        record(
                            f"curve-{country}-{arm}-{budget}-{seed}",
                            "curve",
                            country,
                            arm,
                            learned=gain * budget**0.4,
                            noise=0.8 * (1 - budget) + 0.2,
                            retention=retention,
                            budget=budget,
                            seed=seed,
                        )
                    )
        for number, arm in enumerate(FINAL_ARMS):
            learned = (0.0, 0.8, 0.9, 0.4, -1.0, 0.5, 0.9, 1.0)[number]
            records.append(
                record(
                    f"final-{country}-{arm}",
                    "final",
                    country,
                    arm,
                    learned=learned,
                    noise=0.0 if arm == "global" else 0.3,
                    retention=1.0 if arm in ("full", "weight", "inverse") else 0.6,
                    seed=3,
                )
            )
    chosen = {r.country: r.recommended for r in rank_records(records)}
    for number, each in enumerate(records):
        if each.purpose == "final" and each.arm == "scpo_tuned":
            setting = chosen[each.country]
            kept = {**each.config, "retention": 0.0, "strength": 0.0}  # the global model
            config = kept if setting is None else setting.record.config
            records[number] = each.model_copy(update={"config": config})
    failed = records[0].model_copy(
        update={
            "trial_id": "search-Chile-8",
            "state": "failed",
            "evaluation": None,
            "objectives": {},
            "constraints": {},
            "error": "RuntimeError: <CUDA> out of memory & gone\n  at step 12",
        }
    )
    return [*records, failed]


def write_ledger(folder: Path, records: list[TrialRecord]) -> Path:
    """Write the lines in one go: a ledger of many appends would spend its time in fsync."""
    path = Ledger(folder).path
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    path.write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def records() -> list[TrialRecord]:
    return make_records()


@pytest.fixture
def run_folder(tmp_path: Path, records: list[TrialRecord]) -> Path:
    folder = write_ledger(tmp_path / "sweep-1", records)
    (folder / "config.yaml").write_text("name: sweep-1\nnote: <b>bold</b> & more\n")
    return folder


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialRecord]:
    return search_trial


@pytest.fixture(scope="session")
def workspace(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A country, a tiny model with its rewards, and settings of which nothing is random."""
    torch.set_num_threads(1)
    training = TrainingConfig(pairs_per_step=12, precision="fp32", checkpoint_every=5)
    folder = tmp_path_factory.mktemp("workspace")
    reward = load_reward_model(str(tiny_backbone), new_head=True)
    model = save_reward_model(reward, folder / "model")
    world = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=10, interactions_per_user=3)
    )
    steered = steer_countries(
        world.interactions,
        ["Arvandia"],
        reward,
        content_hash(model),
        split=SplitConfig(),
        max_tokens=96,
        cache=folder / "cache",
        precision="fp32",
    )
    return Workspace(find_model(model), steered.countries, training)
