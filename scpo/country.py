"""One country's preferences as arrays: everything a training or an evaluation reads.

Comes from an interactions table, a split, a tokenizer and the reference rewards. Holds token
arrays, pairs, users and reference margins, and no text, so it travels through Ray's object store
and tau and beta are array operations on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scpo.batches import TrainingSet
from scpo.encoding import TokenizedTexts
from scpo.pairs import IntArray, Pairs, build_pairs, utterance_interactions
from scpo.weighting import BoolArray, FloatArray

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class CountryData:
    """A country's P pairs over U utterances.

    Attributes:
        country: Its name.
        texts: Tokenised utterances, U of them.
        pairs: The pairs, P of them.
        user: User id of each pair, shape (P,).
        part: "train", "validation" or "test" of each pair, shape (P,).
        reference: Reward of the global model for each utterance, shape (U,).
        response_chars: Length of each response in characters, shape (U,).
        num_identical: Pairs dropped because both texts have the same tokens.
    """

    country: str
    texts: TokenizedTexts
    pairs: Pairs
    user: NDArray[np.str_]
    part: NDArray[np.str_]
    reference: FloatArray
    response_chars: IntArray
    num_identical: int

    @property
    def reference_margin(self) -> FloatArray:
        """Return d = r_glo(y+) - r_glo(y-) of each pair, shape (P,)."""
        return pair_margins(self.reference, self.pairs)

    @property
    def length_margin(self) -> FloatArray:
        """Return the difference of response lengths, the length baseline's margin, (P,)."""
        return pair_margins(self.response_chars.astype(np.float64), self.pairs)

    def pairs_in(self, part: str) -> IntArray:
        """Return the numbers of a part's pairs.

        Raises:
            ValueError: No such part, or it holds no pair.
        """
        if part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}, but got {part!r}.")
        which = np.flatnonzero(self.part == part)
        if len(which) == 0:
            raise ValueError(f"{self.country}: the {part} users gave no pair.")
        return which

    def training_set(self, which: IntArray, weights: FloatArray) -> TrainingSet:
        """Return the named pairs with their weights, over only the texts they need.

        Args:
            which: Numbers of pairs, ascending.
            weights: Weight of each of them.
        """
        pairs = self.pairs.take(which)
        needed, renumbered = np.unique(
            np.concatenate([pairs.chosen, pairs.rejected]), return_inverse=True
        )
        return TrainingSet(
            self.texts.take(needed),
            renumbered[: len(which)],
            renumbered[len(which) :],
            pairs.interaction,
            weights,
        )


def pair_margins(rewards: FloatArray, pairs: Pairs) -> FloatArray:
    """Return rewards[chosen] - rewards[rejected], shape (P,)."""
    return rewards[pairs.chosen] - rewards[pairs.rejected]


def utterance_texts(table: pa.Table) -> tuple[list[str], list[str]]:
    """Return the prompt and the response of each utterance of an interactions table."""
    prompts = table["prompt"].take(pa.array(utterance_interactions(table)))
    return prompts.to_pylist(), pc.list_flatten(table["responses"]).to_pylist()


def rows_of(table: pa.Table, countries: list[str]) -> pa.Table:
    """Return the interactions of some countries.

    Raises:
        ValueError: A country has none; the message names those that exist.
    """
    present = set(pc.unique(table["country"]).to_pylist())
    missing = [country for country in countries if country not in present]
    if missing:
        raise ValueError(
            f"No interactions of {', '.join(missing)}; there are some of "
            f"{', '.join(sorted(present))}."
        )
    return table.filter(pc.is_in(table["country"], pa.array(countries)))


def build_country(
    country: str,
    table: pa.Table,
    split: Mapping[str, str],
    texts: TokenizedTexts,
    reference: FloatArray,
) -> CountryData:
    """Return a country's arrays.

    Args:
        country: Name of the country.
        table: Its interactions only.
        split: Part of each user id.
        texts: Tokenised utterances of `table`, in order.
        reference: Global reward of each, shape (U,).
    """
    pairs = build_pairs(table)
    identical = _identical(texts, pairs)
    pairs = pairs.take(~identical)
    users = np.asarray(table["user_id"].to_pylist(), dtype=np.str_)[pairs.interaction]
    part = np.asarray([split[user] for user in users.tolist()], dtype=np.str_)
    chars = np.asarray(pc.utf8_length(pc.list_flatten(table["responses"])), dtype=np.int64)
    return CountryData(
        country, texts, pairs, users, part, reference, chars, int(identical.sum())
    )


def _identical(texts: TokenizedTexts, pairs: Pairs) -> BoolArray:
    """Return which pairs have the same tokens on both sides: they teach nothing."""
    same = texts.lengths[pairs.chosen] == texts.lengths[pairs.rejected]
    for number in np.flatnonzero(same):
        same[number] = np.array_equal(
            texts.tokens_of(pairs.chosen[number]), texts.tokens_of(pairs.rejected[number])
        )
    return same
