"""`scpo evaluate --out DIR`: many models on the held-out users of several countries.

In come a prepared folder, the global model and models by label ("full", "Mexico" or
"Mexico/scpo"); every model scores the validation and test responses of every country, and
`scpo.evaluation.suite` makes of it all that is told. The global model's rewards come from the
cache, lengths from the data.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from scpo.config import EncoderConfig, SplitConfig
from scpo.country import CountryData
from scpo.data.countries import canonical_country
from scpo.data.interactions import read_interactions
from scpo.devices import Precision, pick_device
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, PairScores, split_label
from scpo.evaluation.panels import POOLED
from scpo.evaluation.suite import VALIDATION, Tables, evaluate_models
from scpo.model import RewardModel, content_hash, load_reward_model, resolve_model
from scpo.pairs import IntArray
from scpo.scoring import score_texts
from scpo.steering import steer_countries
from scpo.weighting import FloatArray


def run_evaluation(
    data: Path,
    global_model: str,
    models: Mapping[str, str],
    out: Path,
    *,
    countries: Sequence[str] = (),
    part: str = "test",
    cache: Path,
    encoder: EncoderConfig,
    say: Callable[[str], None] = print,
) -> Tables:
    """Score models on the held-out pairs of countries and write their evaluation.

    Args:
        data: Prepared folder.
        global_model: Hub name or folder.
        models: Hub name or folder by label.
        out: Folder to write to.
        countries: The countries to judge by; none: those that labels name.
        part: Whose pairs judge: "test", or "validation" for a look.
        cache: Root of the caches.
        encoder: How texts become tokens.
        say: Prints a line of progress.

    Returns:
        The tables, as of `scpo.evaluation.suite.evaluate_models`.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: A label or country that does not fit, a country too small, no such part, or a
            model with another tokenizer than the global model's.
        RuntimeError: A reward is not finite.
    """
    table = read_interactions(data)
    present = set(table["country"].to_pylist())
    named = _canonical(models, present)
    wanted = list(countries) or _owners(named, present)
    if not wanted:
        raise ValueError(
            "Countries must be given, or labels that name them such as Mexico/scpo, but got "
            f"the labels {', '.join(models) or 'none'}."
        )
    folder = resolve_model(global_model)
    reward = load_reward_model(str(folder)).to(pick_device())
    steered = steer_countries(
        table,
        wanted,
        reward,
        content_hash(folder),
        split=SplitConfig(),
        max_tokens=encoder.max_tokens,
        overlong=encoder.overlong,
        cache=cache,
    ).countries
    vocabulary = reward.tokenizer.get_vocab()
    about = {GLOBAL: {"model": global_model, "content": content_hash(folder)}}
    judged = {name: held_out(each, part) for name, each in steered.items()}
    rewards: dict[str, dict[str, FloatArray]] = {name: {} for name in steered}
    for label, name in named.items():
        folder = resolve_model(name)
        model = load_reward_model(str(folder)).to(pick_device())
        if model.tokenizer.get_vocab() != vocabulary:
            raise ValueError(
                f"{label}: a model must have the tokenizer of the global model, but {name} has "
                "another. Judge it beside a global model of its own family."
            )
        about[label] = {"model": name, "content": content_hash(folder)}
        for country, each in steered.items():
            rewards[country][label] = score_responses(model, each, judged[country])
        say(f"{label}: scored")
    scores = [
        pair_scores(each, judged[country], rewards[country]) for country, each in steered.items()
    ]
    return evaluate_models(scores, out, part=part, about={"models": about})


def held_out(data: CountryData, part: str) -> IntArray:
    """Return the numbers of the pairs to score: those of the part and of validation.

    Raises:
        ValueError: No such part, or it has no pair.
    """
    which = data.pairs_in(part)
    return np.union1d(which, np.flatnonzero(data.part == VALIDATION))


def score_responses(
    reward: RewardModel, data: CountryData, which: IntArray, *, precision: Precision = "auto"
) -> FloatArray:
    """Return a model's reward of each response that the named pairs hold, 0 for others, (U,).

    Raises:
        RuntimeError: A reward is not finite.
    """
    needed = np.unique(np.concatenate([data.pairs.chosen[which], data.pairs.rejected[which]]))
    rewards = np.zeros(len(data.texts))
    rewards[needed] = score_texts(reward, data.texts, needed, precision=precision)
    return rewards


def pair_scores(
    data: CountryData, which: IntArray, rewards: Mapping[str, FloatArray]
) -> PairScores:
    """Return the named pairs with the rewards of the global model, length and further models.

    Args:
        data: The country's arrays.
        which: Numbers of pairs.
        rewards: Reward of each response by label, each of shape (U,).
    """
    known = {GLOBAL: data.reference, LENGTH: data.response_chars.astype(np.float64)}
    ends = data.pairs.chosen[which], data.pairs.rejected[which]
    return PairScores(
        data.country,
        data.user[which],
        data.pair_ids[which],
        data.part[which],
        data.reference_margin[which],
        data.length_margin[which],
        {
            label: np.column_stack([given[end] for end in ends])
            for label, given in {**known, **rewards}.items()
        },
    )


def _canonical(models: Mapping[str, str], present: set[str]) -> dict[str, str]:
    """Return models by label, countries in the spelling used here.

    Raises:
        ValueError: A label is taken, names a country that is not there, or comes twice.
    """
    named: dict[str, str] = {}
    for label, model in models.items():
        head, slash, arm = label.partition("/")
        country = canonical_country(head)
        known = country if country and country in present else head
        if slash and known not in present:
            raise ValueError(
                f"A label with an arm is COUNTRY/ARM, but {head!r} is not among "
                f"{', '.join(sorted(present))}."
            )
        name = f"{known}{slash}{arm}"
        if name in named or name in (GLOBAL, LENGTH, POOLED):
            raise ValueError(
                f"Labels must differ and not be {GLOBAL}, {LENGTH} or {POOLED}, but got {label!r}."
            )
        named[name] = model
    return named


def _owners(labels: Iterable[str], present: set[str]) -> list[str]:
    """Return the countries that labels name, in their order."""
    owners = (split_label(label, sorted(present))[0] for label in labels)
    return list(dict.fromkeys(owner for owner in owners if owner is not None))
