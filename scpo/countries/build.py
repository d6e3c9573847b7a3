"""From interactions to the arrays of each steered country: split, tokens, reference rewards.

The tokens are made once (or the store has them) and the global model scores every response once
(or the cache knows the reward), for all countries together.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
import pyarrow as pa

from scpo.choices import Overlong, Precision
from scpo.config import EncoderConfig, SplitConfig
from scpo.countries.country_data import CountryData, build_country, rows_of, utterance_texts
from scpo.countries.prefixed import fit_prefix
from scpo.countries.reference_cache import ScoringReport, cache_folder, score_with_cache, text_keys
from scpo.data.pairs import utterance_interactions
from scpo.data.prefixes import prefix_of
from scpo.data.reading.countries import find_countries
from scpo.data.splits import SIDES, fold_users, split_users
from scpo.models.devices import pick_device, resolve_precision
from scpo.models.fit_together import check_lengths
from scpo.models.folder.contract import ModelFacts
from scpo.models.reward_model import LoadedModel
from scpo.text.prompt_prefix import fill_country
from scpo.tokens.encoding import TokenizedTexts
from scpo.tokens.token_store import load_or_encode

Score = Callable[..., ScoringReport]


class ScoringOptions(TypedDict, total=False):
    """Keyword arguments of `score_table`; the first two must be given."""

    max_tokens: Required[int]
    cache: Required[Path]
    precision: Precision
    overlong: Overlong
    score: Score | None


@dataclass(frozen=True)
class SteeredCountries:
    """The arrays of each country, the part of each user id, and what scoring did."""

    countries: dict[str, CountryData]
    split: Mapping[str, str]
    scoring: ScoringReport


def encoder_of(reward: LoadedModel, encoder: EncoderConfig) -> EncoderConfig:
    """Return encoder settings in which what was not set is as in the model's scpo.json.

    Warns:
        UserWarning: A setting is another than the model was trained with.
    """
    known = _trained_encoder(reward)
    filled = encoder.model_copy(
        update={name: known[name] for name in known.keys() - encoder.model_fields_set}
    )
    for difference in encoder_differences(reward, filled):
        warnings.warn(difference, UserWarning, stacklevel=2)
    return filled


def encoder_differences(reward: LoadedModel, encoder: EncoderConfig) -> list[str]:
    """Return in words where encoder settings are not those that a model was trained with."""
    return [
        f"{reward.model.name_or_path} was trained with {name} {value} (its scpo.json), but "
        f"{getattr(encoder, name)} is set: longer texts are cut otherwise."
        for name, value in _trained_encoder(reward).items()
        if getattr(encoder, name) != value
    ]


def _trained_encoder(reward: LoadedModel) -> dict[str, Any]:
    facts = reward.facts or ModelFacts()
    trained = {"max_tokens": facts.max_tokens, "overlong": facts.overlong}
    return {name: value for name, value in trained.items() if value is not None}


def steer_countries(
    table: pa.Table,
    countries: Sequence[str],
    reward: LoadedModel,
    model_hash: str,
    *,
    split: SplitConfig | Mapping[str, str],
    **scoring: Unpack[ScoringOptions],
) -> SteeredCountries:
    """Build the arrays of some countries, scoring what the cache lacks.

    `table` holds at least the interactions of these countries; under `overlong="drop"` pairs
    with a text over the budget are left out. `split` may be made already: the part of each user.
    Further arguments as of `score_table`.

    Raises:
        ValueError: A country is absent or has too few users.
        RuntimeError: A reward is not finite.
    """
    countries = find_countries(countries, table["country"].unique().to_pylist())
    rows = fit_prefix(rows_of(table, countries), reward)
    prefix = prefix_of(rows)
    parts = (
        divide_users(rows, countries, split)
        if isinstance(split, SplitConfig)
        else take_parts(rows, split)
    )
    texts, report, _ = score_table(rows, reward, model_hash, **scoring)
    owner = np.asarray(rows["country"].to_pylist(), dtype=np.str_)
    owner_of_text = owner[utterance_interactions(rows)]
    data = {}
    for country in countries:
        mine = np.flatnonzero(owner_of_text == country)
        data[country] = build_country(
            country,
            rows.take(pa.array(np.flatnonzero(owner == country))),
            parts,
            texts.take(mine),
            report.rewards[mine],
            facts={
                "country": country,
                "max_tokens": scoring["max_tokens"],
                "global_model": model_hash,
                "prompt_prefix": prefix and fill_country(prefix, country),
            },
            overlong=scoring.get("overlong", "truncate_prompt"),
        )
    return SteeredCountries(data, parts, report)


def divide_users(table: pa.Table, countries: Sequence[str], split: SplitConfig) -> dict[str, str]:
    """Return the part of each user of some countries, by shares or as one of k folds.

    Raises:
        ValueError: A country is absent or has too few users.
    """
    if split.folds is not None:
        folds = {"num_folds": split.folds, "seed": split.seed}
        by_country = [fold_users(table, name, **folds)[split.fold] for name in countries]
        return {user: part for parts in by_country for user, part in parts.items()}
    return split_users(
        table,
        list(countries),
        seed=split.seed,
        validation_share=split.validation_share,
        test_share=split.test_share,
        min_users=split.min_users,
    )


def take_parts(table: pa.Table, parts: Mapping[str, str]) -> dict[str, str]:
    """Return the part of each user of a table.

    Raises:
        ValueError: A user has none, or one that there is not.
    """
    users = sorted(set(table["user_id"].to_pylist()))
    if lacking := [user for user in users if parts.get(user) not in SIDES]:
        raise ValueError(
            f"Every user must be of {', '.join(SIDES)}, but {', '.join(lacking[:3])} "
            f"({len(lacking)} of {len(users)} users) are not: the data are others than the split "
            "was made of."
        )
    return {user: parts[user] for user in users}


def score_table(
    table: pa.Table,
    reward: LoadedModel,
    model_hash: str,
    *,
    max_tokens: int,
    cache: Path,
    precision: Precision = "auto",
    overlong: Overlong = "truncate_prompt",
    score: Score | None = None,
) -> tuple[TokenizedTexts, ScoringReport, Path]:
    """Tokenise and score every response of an interactions table, through the cache.

    `model_hash` is the `scpo.models.reward_model.content_hash` of `reward`, the global model on
    its device; `cache` is the root of the token store and the reference cache. What the cache
    lacks is scored by `score`: a partial of `scpo.distributed.ray_scoring.score_on_ray` for all
    devices of a cluster, None for `reward` here.

    Returns:
        The tokens, what scoring did, and the cache's folder for this model.

    Raises:
        RuntimeError: A reward is not finite.
        ValueError: A text is longer than the model has positions.
    """
    prompts, responses = utterance_texts(fit_prefix(table, reward))
    texts = load_or_encode(
        cache,
        reward.tokenizer,
        prompts,
        responses,
        max_tokens=max_tokens,
        overlong=overlong,
    )
    check_lengths(reward.model, texts.lengths)
    # Weights that workers share lie on the CPU here: they are only mapped.
    device = reward.model.device if score is None else pick_device()
    resolved = resolve_precision(precision, device)
    folder = cache_folder(
        cache,
        model_hash=model_hash,
        max_tokens=max_tokens,
        precision=resolved,
        overlong=overlong,
    )
    keys = text_keys(prompts, responses)
    report = (score or partial(score_with_cache, reward))(texts, keys, folder, precision=resolved)
    return texts, report, folder
