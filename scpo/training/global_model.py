"""The global model made offline: a backbone with a new head, trained on pooled preferences.

Pooled are the pairs of the countries that are *not* steered to, and any further pairs file.
Every pair has weight 1. One user in twenty is held out, so that the model comes with an accuracy.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scpo.arrays import FloatArray
from scpo.choices import Overlong
from scpo.config import GlobalModelConfig, TrainingConfig
from scpo.countries.country_data import build_country, pair_margins, utterance_texts
from scpo.countries.scoring import score_pairs
from scpo.data.pairs import build_pairs
from scpo.data.prefixes import UNNAMED, prefix_of, prefix_prompts
from scpo.data.reading.bad_rows import BadRows
from scpo.data.reading.countries import base_country, find_countries, tell_near_names
from scpo.data.sources.pairs_file import read_pairs_file
from scpo.data.splits import vetted_users
from scpo.models.devices import pick_device
from scpo.models.fit_together import check_lengths
from scpo.models.loading import load_reward_model
from scpo.statistics.accuracy import Accuracy, pair_accuracy
from scpo.statistics.user_folds import shuffle_users
from scpo.statistics.wording import format_accuracy
from scpo.text.counts import format_count
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts, encode_texts
from scpo.training.fit import fit_on_device
from scpo.training.loop import TrainingResult

_log = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.05
# Trains on pairs into a folder; returns the result, and the model's rewards of U texts, (U,).
TrainElsewhere = Callable[
    [TrainingSet, TrainingConfig, Path, TokenizedTexts], tuple[TrainingResult, FloatArray]
]


@dataclass(frozen=True)
class GlobalTraining:
    """What the training of a global model did: pairs, optimizer steps, seconds in the loop.

    `held_out` is the accuracy on the users held out, `length` the length baseline's on the same
    pairs.
    """

    pairs: int
    steps: int
    train_s: float
    held_out: Accuracy
    length: Accuracy

    def in_words(self) -> str:
        """Return the outcome in a line for people."""
        return (
            f"global model: {format_count(self.pairs, 'pair')}, {self.train_s:.0f} s; "
            f"{format_accuracy(self.held_out.interval)} of "
            f"{format_count(self.held_out.pairs, 'held-out pair')} of "
            f"{format_count(self.held_out.interval.users, 'user')}; "
            f"the longer response wins {format_accuracy(self.length.interval.value)}"
        )


def train_global_model(
    table: pa.Table,
    model: GlobalModelConfig,
    training: TrainingConfig,
    *,
    out: Path,
    max_tokens: int,
    overlong: Overlong = "truncate_prompt",
    train: TrainElsewhere | None = None,
) -> GlobalTraining:
    """Train a global reward model and write it as a Hugging Face folder.

    `table` is that of `pool_interactions`. `model` names the backbone, which gets a new head, and
    sets learning rate and epochs; `training` has the rest. `overlong="drop"` leaves out pairs with
    a text over `max_tokens`. `train` trains on other devices than this process's.

    Raises:
        FileNotFoundError: No such backbone.
        ValueError: There is no pair to train on, or the backbone cannot be pooled so.
        RuntimeError: The loss is not finite.
    """
    if train is not None and model.pooling == "mean":
        raise ValueError(
            "global_model.pooling mean is trained in one process, but these lanes share a "
            "training. Set global_model.lanes.workers to 1, or leave the pooling out."
        )
    training = training.model_copy(
        update={"epochs": model.epochs, "learning_rate": model.learning_rate}
    )
    reward = load_reward_model(
        str(model.backbone),
        revision=model.revision,
        new_head=True,
        head_seed=training.seed,
        head_pooling=model.pooling,
        as_stored=train is not None,
        trust_remote_code=model.trust_remote_code,
    )
    prompts, responses = utterance_texts(table)
    texts = encode_texts(
        reward.tokenizer, prompts, responses, max_tokens=max_tokens, overlong=overlong
    )
    check_lengths(reward.model, texts.lengths)
    split = _hold_out(table, training.seed)
    data = build_country(
        "pooled",
        table,
        split,
        texts,
        np.zeros(len(texts)),
        overlong=overlong,
        facts={
            "max_tokens": max_tokens,
            "arm": "global",
            "prompt_prefix": prefix_of(table),
        },
    )
    which, tested = data.pairs_in("train"), data.pairs_in("test")
    pairs = data.training_set(which, np.ones(len(which)))
    pairs = replace(pairs, reference=None)  # the head is new: its rewards continue nothing
    if train is not None:
        result, rewards = train(pairs, training, out, texts)
        margin = pair_margins(rewards, data.pairs)[tested]
    else:
        reward = reward.to(pick_device())
        result = fit_on_device(reward, pairs, training, out=out)
        margin = score_pairs(reward, data, tested, precision=training.precision)
    return GlobalTraining(
        len(which),
        len(result.losses),
        result.train_s,
        pair_accuracy(margin, data.user[tested]),
        pair_accuracy(data.length_margin[tested], data.user[tested]),
    )


def pool_interactions(
    table: pa.Table,
    model: GlobalModelConfig,
    *,
    exclude: Sequence[str],
    only: Sequence[str] | None = None,
    on_bad_rows: Literal["quarantine", "stop"] = "quarantine",
    quarantine: Path,
    seed: int,
) -> pa.Table:
    """Return the interactions that train a global model, each source cut at random by the seed.

    `model` names a further pairs file, whose bad rows go to `quarantine`, and the largest numbers
    of pairs. Countries to `exclude` are those that are steered to; `only` names those to take of
    the rest, None for all. Both hold for the pairs file too, where its rows name a country, and
    for samples of a country, such as "India (Non-national sample)".

    Raises:
        FileNotFoundError: No such pairs file.
        ValueError: Nothing is left to train on, the pairs file has no usable row, or a named
            country does not exist.
    """
    sources = [(table, model.max_pairs)]
    if model.extra_pairs is not None:
        bad_rows = BadRows(on_bad_rows)
        extra = read_pairs_file(Path(model.extra_pairs), bad_rows, default_country=UNNAMED)
        bad_rows.write(quarantine)
        if extra.num_rows == 0:
            raise ValueError(bad_rows.describe_nothing(model.extra_pairs, quarantine))
        prefix = prefix_of(table)
        extra = extra if prefix is None else prefix_prompts(extra, prefix)
        sources.append((extra, model.max_extra_pairs))
        tell_near_names(extra["country"].unique().to_pylist())
    present = {name for part, _ in sources for name in part["country"].unique().to_pylist()}
    excluded = {base_country(name) for name in find_countries(exclude, present)}
    taken = present if only is None else {*find_countries(only, present), UNNAMED}
    names = [name for name in taken if base_country(name) not in excluded]
    parts = []
    for part, most in sources:
        left = part.filter(pc.is_in(part["country"], pa.array(names, pa.string())))
        parts.append(_cut(left, most, seed))
        if part is not table and left.num_rows < part.num_rows:
            _log.warning(
                "%s: %d of %d interactions are of countries left out and train no global model.",
                *(model.extra_pairs, part.num_rows - left.num_rows, part.num_rows),
            )
    pooled = pa.concat_tables(parts)
    if pooled.num_rows == 0:
        raise ValueError(
            "A global model needs pairs of countries that are not steered to, but there are "
            "none. Give a finished global model, a further pairs file, or steer to fewer."
        )
    return pooled


def _cut(table: pa.Table, max_pairs: int | None, seed: int) -> pa.Table:
    """Return random interactions that hold at most `max_pairs` pairs."""
    if max_pairs is None:
        return table
    counts = np.bincount(build_pairs(table).interaction, minlength=table.num_rows)
    order = np.random.default_rng(seed).permutation(table.num_rows)
    taken = order[np.cumsum(counts[order]) <= max_pairs]
    return table.take(pa.array(np.sort(taken)))


def _hold_out(table: pa.Table, seed: int) -> dict[str, str]:
    """Return the side of each user: some that gave pairs, at least one, are "test".

    They are vetted, where there are such users.
    """
    user = np.asarray(table["user_id"].to_pylist(), dtype=np.str_)
    able = shuffle_users(user[build_pairs(table).interaction], seed=seed)
    vetted = vetted_users(table)
    able = [name for name in able if name in vetted] or able
    chosen = set(able[: max(1, round(HELD_OUT_SHARE * len(able)))])
    return {name: "test" if name in chosen else "train" for name in np.unique(user).tolist()}
