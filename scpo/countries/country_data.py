"""One country's preferences as arrays: everything a training or an evaluation reads.

Comes from an interactions table, a split, a tokenizer and the reference rewards. Holds token
arrays, pairs, users and reference margins, and no text, so it travels through Ray's object store
and tau and beta are array operations on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scpo.arrays import BoolArray, FloatArray, IntArray
from scpo.choices import Overlong
from scpo.data.pairs import Pairs, build_pairs, response_counts, utterance_interactions
from scpo.data.reading.countries import find_countries
from scpo.data.splits import SIDES, vetted_users
from scpo.heads.linear_heads import Heads
from scpo.text.counts import format_count
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.tokens.prompts import Prompt, make_prompt


@dataclass(frozen=True)
class CountryData:
    """A country's P pairs over U utterances.

    Attributes:
        texts: Tokenised utterances, U of them.
        user: User id of each pair, shape (P,).
        part: "train", "validation" or "test" of each pair, shape (P,).
        reference: Reward of the global model for each utterance, shape (U,).
        response_chars: Length of each response in characters, shape (U,).
        num_identical: Pairs dropped because both texts have the same tokens.
        num_truncated: Texts over the token budget.
        num_overlong: Pairs dropped because a text was over it.
        pair_ids: Name of each pair, "interaction:2>0" where response 2 was chosen over 0, (P,).
        vetted: Whether each pair's user may validate and test, shape (P,); None: all may.
        unit: What a user is: "user", a person, or "question", one of a survey.
        facts: How the texts were made and scored, for the models trained on them.
        differences: phi(y+) - phi(y-) of each pair by the global model's frozen features, shape
            (P, D), NaN for pairs of test users; None where nothing weighs users.
    """

    country: str
    texts: TokenizedTexts
    pairs: Pairs
    user: NDArray[np.str_]
    part: NDArray[np.str_]
    reference: FloatArray
    response_chars: IntArray
    num_identical: int
    num_truncated: int
    num_overlong: int
    pair_ids: NDArray[np.str_]
    vetted: BoolArray | None = None
    unit: str = "user"
    facts: Mapping[str, Any] = field(default_factory=dict)
    differences: Heads | None = None

    @property
    def reference_margin(self) -> FloatArray:
        """Return d = r_glo(y+) - r_glo(y-) of each pair, shape (P,)."""
        return pair_margins(self.reference, self.pairs)

    @property
    def judges(self) -> NDArray[np.str_]:
        """Return the users who may validate and test, each once."""
        return np.unique(self.user if self.vetted is None else self.user[self.vetted])

    @property
    def length_margin(self) -> FloatArray:
        """Return the difference of response lengths, the length baseline's margin, (P,)."""
        return pair_margins(self.response_chars.astype(np.float64), self.pairs)

    @property
    def losses(self) -> str:
        """Return how many texts were cut and pairs dropped, as text; empty for none."""
        counts = (
            (self.num_truncated, "text", "truncated"),
            (self.num_overlong, "pair", "dropped as overlong"),
            (self.num_identical, "pair", "dropped as identical"),
        )
        return ", ".join(f"{format_count(num, what)} {lost}" for num, what, lost in counts if num)

    def pairs_in(self, part: str) -> IntArray:
        """Return the numbers of a part's pairs.

        Raises:
            ValueError: No such part, or it holds no pair.
        """
        if part not in SIDES:
            raise ValueError(f"part must be one of {', '.join(SIDES)}, but got {part!r}.")
        which = np.flatnonzero(self.part == part)
        if len(which) == 0:
            why = f" ({self.losses})" if self.losses else ""
            raise ValueError(f"{self.country}: the {part} users gave no pair{why}.")
        return which

    def training_set(self, which: IntArray, weights: FloatArray) -> TrainingSet:
        """Return the named pairs, ascending, with a weight each, over only the texts they need.

        They carry their margins, names and the reference rewards of their texts.
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
            margins=pairs.margins,
            reference=self.reference[needed],
            country=self.country,
            pair_ids=self.pair_ids[which],
            facts=self.facts,
        )


def pair_margins(rewards: FloatArray, pairs: Pairs) -> FloatArray:
    """Return rewards[chosen] - rewards[rejected], shape (P,)."""
    return rewards[pairs.chosen] - rewards[pairs.rejected]


def utterance_texts(table: pa.Table) -> tuple[list[Prompt], list[str]]:
    """Return the prompt and the response of each utterance of an interactions table."""
    columns = (table[name].to_pylist() for name in ("prompt", "messages"))
    prompts = [make_prompt(*each) for each in zip(*columns, strict=True)]
    each_prompt = [prompts[row] for row in utterance_interactions(table).tolist()]
    return each_prompt, pc.list_flatten(table["responses"]).to_pylist()


def rows_of(table: pa.Table, countries: list[str]) -> pa.Table:
    """Return the interactions of some countries, by any of their names.

    Raises:
        ValueError: A country has none; the message names those that exist.
    """
    found = find_countries(countries, pc.unique(table["country"]).to_pylist())
    return table.filter(pc.is_in(table["country"], pa.array(found)))


def build_country(
    country: str,
    table: pa.Table,
    split: Mapping[str, str],
    texts: TokenizedTexts,
    reference: FloatArray,
    *,
    overlong: Overlong = "truncate_prompt",
    facts: Mapping[str, Any] | None = None,
) -> CountryData:
    """Return a country's arrays.

    `table` holds its interactions only; `texts` are its U tokenised utterances in order, and
    `reference` their global rewards, shape (U,). Where the texts were made under "drop", pairs
    with a text over the token budget are left out.
    """
    pairs = build_pairs(table)
    cut = (texts.overlong[pairs.chosen] | texts.overlong[pairs.rejected]) & (overlong == "drop")
    pairs = pairs.take(~cut)
    identical = _identical(texts, pairs)
    pairs = pairs.take(~identical)
    user_ids = table["user_id"].to_pylist()
    users = np.asarray(user_ids, dtype=np.str_)[pairs.interaction]
    vetted = vetted_users(table)
    may_judge = np.asarray([user in vetted for user in user_ids], dtype=np.bool_)
    part = np.asarray([split[user] for user in user_ids], dtype=np.str_)[pairs.interaction]
    chars = np.asarray(pc.utf8_length(pc.list_flatten(table["responses"])), dtype=np.int64)
    return CountryData(
        country,
        texts,
        pairs,
        users,
        part,
        reference,
        chars,
        num_identical=int(identical.sum()),
        num_truncated=texts.num_truncated,
        num_overlong=int(cut.sum()),
        pair_ids=_pair_ids(table, pairs),
        vetted=may_judge[pairs.interaction],
        unit="question" if set(table["unit"].to_pylist()) == {"question"} else "user",
        facts={**(facts or {}), "overlong": overlong},
    )


def _pair_ids(table: pa.Table, pairs: Pairs) -> NDArray[np.str_]:
    """Return "interaction:chosen>rejected" of each pair, positions within the interaction."""
    counts = response_counts(table)
    first = (np.cumsum(counts) - counts)[pairs.interaction]
    names = np.asarray(table["interaction_id"].to_pylist(), dtype=np.str_)[pairs.interaction]
    numbers = np.array([str(position) for position in range(counts.max(initial=0))], dtype=np.str_)
    ends = (":", numbers[pairs.chosen - first], ">", numbers[pairs.rejected - first])
    for end in ends:
        names = np.strings.add(names, end)
    return names


def _identical(texts: TokenizedTexts, pairs: Pairs) -> BoolArray:
    """Return which pairs have the same tokens on both sides: they teach nothing.

    All pairs are compared at once, token by token from the end, where responses differ soonest.
    """
    lengths = texts.lengths[pairs.chosen]
    same: BoolArray = lengths == texts.lengths[pairs.rejected]
    chosen_end, rejected_end = texts.offsets[pairs.chosen + 1], texts.offsets[pairs.rejected + 1]
    undecided = np.flatnonzero(same)
    back = 1
    while len(undecided := undecided[lengths[undecided] >= back]):
        differ = (
            texts.ids[chosen_end[undecided] - back] != texts.ids[rejected_end[undecided] - back]
        )
        same[undecided[differ]] = False
        undecided = undecided[~differ]
        back += 1
    return same
