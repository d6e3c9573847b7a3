"""A data set as arrays for heads: interactions, frozen features of all texts, who owns each.

What is made once lies in the data set's folder (prepared interactions, features); the functions
here are otherwise pure. A country's global head is trained on the pairs of others only.

Legend: U texts, P pairs, D features.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scpo.arrays import FloatArray, IntArray
from scpo.countries.country_data import utterance_texts
from scpo.countries.features import FeatureArray
from scpo.data.pairs import Pairs, build_pairs, utterance_interactions
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.countries import canonical_country
from scpo.data.reading.jsonl import read_jsonl
from scpo.data.reading.trl_columns import extract_texts
from scpo.tokens.encoding import TokenizedTexts
from sweeps.config import HeadsConfig
from sweeps.probe.heads import train_heads
from sweeps.research.study.study_config import Pool


@dataclass(frozen=True)
class FrozenArrays:
    """A whole data set.

    Attributes:
        table: Its interactions.
        texts: Tokens of the U responses with their prompts.
        features: Shape (U, D).
        against: The one country whose answer a pair's refused text is; "" for none, shape (P,).
    """

    table: pa.Table
    texts: TokenizedTexts
    features: FeatureArray
    against: NDArray[np.str_]

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


def count_units(table: pa.Table) -> dict[str, int]:
    """Return the number of users (or questions) of each country that gave a pair."""
    used = np.unique(build_pairs(table).interaction)
    users = defaultdict(set)
    columns = table["country"].to_pylist(), table["user_id"].to_pylist()
    for row in used.tolist():
        users[columns[0][row]].add(columns[1][row])
    return {country: len(names) for country, names in sorted(users.items())}


def global_pool(
    arrays: FrozenArrays, country: str, steered: tuple[str, ...], pool: Pool
) -> IntArray:
    """Return the pairs that may train a country's global head.

    Never among them are its own pairs, those of another sample of the same country ("India
    (Non-national sample)"), and those that hold its answer against another's.

    Args:
        arrays: The data set.
        country: The country to steer to.
        steered: All countries that are steered to.
        pool: "not steered": pairs of no steered country; "others": pairs of any other.

    Raises:
        ValueError: Nothing is left.
    """
    owner = arrays.country[arrays.pairs.interaction]
    names = np.unique(owner)
    allowed = [
        name
        for name in names.tolist()
        if _base(name) != _base(country) and (pool == "others" or name not in steered)
    ]
    which = np.flatnonzero(np.isin(owner, allowed) & (arrays.against != country))
    if len(which) == 0:
        raise ValueError(
            f"{country}: pairs of other countries must be there for a global head, but there are "
            "none. Steer to fewer countries."
        )
    return which


def train_global_head(arrays: FrozenArrays, pool: IntArray, config: HeadsConfig) -> FloatArray:
    """Return a head trained from nothing on a pool of pairs, cut at random, shape (D,)."""
    if len(pool) > config.max_global_pairs:
        order = np.random.default_rng(0).permutation(len(pool))
        pool = pool[np.sort(order[: config.max_global_pairs])]
    differences = pair_differences(arrays.features, arrays.pairs.take(pool))
    (head,) = train_heads(
        differences,
        np.zeros(len(pool)),
        np.ones((1, len(pool))),
        np.array([len(pool)]),
        l2=np.array([config.global_l2]),
        steps=np.array([config.steps]),
    )
    return head.astype(np.float64)


def pair_differences(features: FeatureArray, pairs: Pairs) -> FeatureArray:
    """Return phi(y+) - phi(y-) of each pair, shape (P, D)."""
    return features[pairs.chosen] - features[pairs.rejected]


def read_against(path: Path, column: str, table: pa.Table) -> NDArray[np.str_]:
    """Return the country whose answer each pair refuses, "" where it is several or none.

    Args:
        path: The pairs file that the table was made from, JSON lines.
        column: Its column that names the country of the refused answer.
        table: The interactions.

    Raises:
        ValueError: No row has the column.
    """
    countries: dict[tuple[str, ...], set[str]] = defaultdict(set)
    found = False
    for _, row in read_jsonl(path, BadRows("quarantine")):
        if column not in row:
            continue
        found = True
        texts = extract_texts(row, "prompt", "chosen", "rejected")
        owner = canonical_country(str(row["country"])) or ""
        other = canonical_country(str(row[column])) or ""
        countries[owner, texts.prompt, texts.chosen, texts.rejected].add(other)
    if not found:
        raise ValueError(f"{path} must have the column {column!r}, but no row has it.")
    pairs = build_pairs(table)
    prompts, responses = utterance_texts(table)
    owners = table["country"].to_pylist()
    against = []
    for row, chosen, rejected in zip(
        pairs.interaction.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True
    ):
        key = (owners[row], prompts[chosen], responses[chosen], responses[rejected])
        named = countries.get(key, set())
        against.append(next(iter(named)) if len(named) == 1 else "")
    return np.array(against, dtype=np.str_)


def _base(country: str) -> str:
    """Return a country's name without what stands in brackets."""
    return country.partition(" (")[0]
