"""A data set as arrays for heads: interactions and the frozen features of all texts.

Both are made once and lie in the data set's folder. A country's global head is trained on the
pairs of others only.

Legend: U texts, P pairs, D features.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scpo.arrays import FeatureArray, FloatArray, IntArray
from scpo.config import EncoderConfig
from scpo.countries.country_data import utterance_texts
from scpo.countries.features import features_folder, features_with_cache
from scpo.data.interactions import read_interactions
from scpo.data.pairs import Pairs, build_pairs, utterance_interactions
from scpo.data.reading.bad_rows import BadRows, RowFault
from scpo.data.reading.countries import base_country, canonical_country
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.trl_columns import extract_texts
from scpo.data.sources.prepare import prepare_source
from scpo.heads.linear_heads import ProbedPairs
from scpo.method.arms import select_arm
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.tokens.encoding import TokenizedTexts
from scpo.tokens.prompts import prompt_text
from scpo.tokens.token_store import load_or_encode
from sweeps.config import HeadsConfig, Say
from sweeps.probe.choose_heads import train_selections
from sweeps.research.study.study_config import FrozenConfig, Pool, StudyConfig

_FEATURES_FILE, _AGAINST_FILE = "features.npy", "against.npy"  # beside a data set's interactions


@dataclass(frozen=True)
class FrozenArrays:
    """A whole data set."""

    table: pa.Table  # its interactions
    texts: TokenizedTexts  # tokens of the U responses with their prompts
    features: FeatureArray  # shape (U, D)
    against: NDArray[np.str_]  # the one country whose answer a pair refuses, "" for none, (P,)

    @cached_property
    def pairs(self) -> Pairs:
        """Return all pairs."""
        return build_pairs(self.table)

    @cached_property
    def country(self) -> NDArray[np.str_]:
        """Return the country of each interaction."""
        return np.asarray(self.table["country"].to_pylist(), dtype=np.str_)

    def texts_of(self, country: str) -> IntArray:
        """Return the numbers of a country's texts."""
        return np.flatnonzero(self.country[utterance_interactions(self.table)] == country)


def prepare_arrays(config: FrozenConfig, folder: Path, say: Say, study: StudyConfig) -> pa.Table:
    """Make what a data set's folder lacks, interactions and features, and return the former."""
    if not (folder / "data" / "interactions.parquet").is_file():
        prepare_source(config.data, folder / "data")
    table = read_interactions(folder / "data")
    if (folder / _FEATURES_FILE).is_file() and (folder / _AGAINST_FILE).is_file():
        return table
    started = time.monotonic()
    reward = load_reward_model(study.backbone, new_head=True).to(pick_device())
    texts = _encode(table, folder, reward, config.encoder)
    how: dict[str, Any] = {
        "pooling": study.features.pooling,
        "precision": resolve_precision(study.precision, reward.model.device),
    }
    cached = features_folder(folder, model_hash=content_hash(study.backbone), **how)
    which = np.arange(len(texts))
    features = features_with_cache(reward, texts, which, cached, **how).features
    against = np.full(len(build_pairs(table)), "")
    if config.against_column is not None:
        against = read_against(Path(str(config.data.path)), config.against_column, table)
    np.save(folder / _AGAINST_FILE, against)
    np.save(folder / _FEATURES_FILE, features)
    say(f"{config.title}: features of {len(texts)} texts, {time.monotonic() - started:.0f} s")
    return table


@cache
def load_arrays(folder: Path, backbone: str, encoder: EncoderConfig) -> FrozenArrays:
    """Return what `prepare_arrays` put into a data set's folder, read once a process."""
    table = read_interactions(folder / "data")
    texts = _encode(table, folder, load_reward_model(backbone, new_head=True), encoder)
    return FrozenArrays(
        table, texts, np.load(folder / _FEATURES_FILE), np.load(folder / _AGAINST_FILE)
    )


def count_units(table: pa.Table) -> dict[str, int]:
    """Return the number of users (or questions) of each country that gave a pair."""
    used = table.take(pa.array(np.unique(build_pairs(table).interaction)))
    counts = used.group_by("country").aggregate([("user_id", "count_distinct")])
    columns = counts["country"].to_pylist(), counts["user_id_count_distinct"].to_pylist()
    return dict(sorted(zip(*columns, strict=True)))


def global_pool(
    arrays: FrozenArrays, country: str, steered: tuple[str, ...], pool: Pool
) -> IntArray:
    """Return the pairs that may train a country's global head.

    Never among them are its own pairs, those of another sample of the same country ("India
    (Non-national sample)"), and those that hold its answer against another's.

    The pool "not steered" has pairs of no steered country nor of a sample of one, "others" pairs
    of any other.

    Raises:
        ValueError: No pair is left.
    """
    owner = arrays.country[arrays.pairs.interaction]
    names = np.unique(owner)
    own = base_country(country)
    left_out = {own} if pool == "others" else {own, *map(base_country, steered)}
    allowed = [name for name in names.tolist() if base_country(name) not in left_out]
    against = [name for name in np.unique(arrays.against).tolist() if base_country(name) == own]
    which = np.flatnonzero(np.isin(owner, allowed) & ~np.isin(arrays.against, against))
    if len(which) == 0:
        raise ValueError(
            f"{country}: a global head needs pairs of other countries, but there are none. "
            "Steer to fewer countries."
        )
    return which


def train_global_head(arrays: FrozenArrays, pool: IntArray, config: HeadsConfig) -> FloatArray:
    """Return a head trained from nothing on a pool of pairs, cut at random, shape (D,)."""
    if len(pool) > config.max_global_pairs:
        order = np.random.default_rng(0).permutation(len(pool))
        pool = pool[np.sort(order[: config.max_global_pairs])]
    zero = np.zeros(len(pool))
    differences = pair_differences(arrays.features, arrays.pairs.take(pool))
    pairs = ProbedPairs(differences, zero, zero, pool)
    numbers = {"l2": np.array([config.global_l2]), "steps": np.array([config.steps])}
    (head,) = train_selections(pairs, [select_arm("full", zero)], **numbers)
    return np.asarray(head, dtype=np.float64)


def pair_differences(features: FeatureArray, pairs: Pairs) -> FeatureArray:
    """Return phi(y+) - phi(y-) of each pair, shape (P, D)."""
    return features[pairs.chosen] - features[pairs.rejected]


def read_against(path: Path, column: str, table: pa.Table) -> NDArray[np.str_]:
    """Return the country whose answer each pair refuses, "" where it is several or none.

    `path` is the pairs file, JSON lines, that the table of interactions was made from; `column`
    names the country of the refused answer.

    Raises:
        ValueError: No row has the column.
    """
    countries: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for _, row in read_jsonl(path, BadRows("quarantine")):
        if column in row:
            try:
                texts = extract_texts(row, "prompt", "chosen", "rejected")
            except RowFault:
                continue  # it is in the quarantine of the interactions
            owner, other = (
                canonical_country(str(row[name])) or "" for name in ("country", column)
            )
            countries[owner, texts.prompt, texts.chosen, texts.rejected].add(other)
    if not countries:
        raise ValueError(f"{path} must have the column {column!r}, but no row has it.")
    pairs = build_pairs(table)
    prompts, responses = utterance_texts(table)
    owners = table["country"].to_pylist()
    against = []
    for row, chosen, rejected in zip(
        pairs.interaction.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True
    ):
        key = (owners[row], prompt_text(prompts[chosen]), responses[chosen], responses[rejected])
        named = countries.get(key, set())
        against.append(next(iter(named)) if len(named) == 1 else "")
    return np.array(against, dtype=np.str_)


def _encode(
    table: pa.Table, folder: Path, reward: LoadedModel, encoder: EncoderConfig
) -> TokenizedTexts:
    prompts, responses = utterance_texts(table)
    return load_or_encode(
        folder,
        reward.tokenizer,
        prompts,
        responses,
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
    )
