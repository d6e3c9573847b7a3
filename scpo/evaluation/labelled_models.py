"""What `scpo evaluate` judges: models by label, the global model, and the users held out.

Labels come from the command line as LABEL=MODEL texts, or from the folder of a sweep
(`sweeps.run.models_of_run`). "global" names the global model; "Mexico/scpo" is Mexico's model
of arm scpo, "Mexico" its only one, any other label one model for all countries.
"""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scpo.choices import POOLED
from scpo.config import EncoderConfig, SplitConfig
from scpo.data.interactions import hash_interactions
from scpo.data.reading.countries import canonical_country, one_names, refuse_misspelt
from scpo.evaluation.pair_scores import GLOBAL, LENGTH, split_label
from scpo.models.model_source import ModelSource, find_model, find_models
from scpo.models.reward_model import content_hash

TAKEN = (GLOBAL, LENGTH, POOLED)


@dataclass(frozen=True)
class ModelsToJudge:
    """Models and what judges them."""

    data: Path  # a prepared folder
    global_model: str | ModelSource  # a name is as of `scpo.models.model_source.find_model`
    models: Mapping[str, str]  # such names by label, without "global"
    cache: Path  # root of the token store and the reference rewards
    countries: Sequence[str] = ()  # without any those judge that labels name
    # How the training divided the users, or the part of each; None for what `data` keeps.
    split: SplitConfig | Mapping[str, str] | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    revision: str | None = None  # of the global model, on the hub
    trust_remote_code: bool = False


def parse_models(texts: Iterable[str]) -> dict[str, str]:
    """Return models by label from LABEL=MODEL texts.

    Raises:
        ValueError: A text without a label or a model, or a label twice.
    """
    models: dict[str, str] = {}
    for text in texts:
        label, _, model = (part.strip() for part in text.partition("="))
        if not label or not model or _is_model_alone(text):
            raise ValueError(
                f"A model is given as LABEL=MODEL, such as Mexico=models/mexico, but got {text!r}."
            )
        if label in models:
            raise ValueError(
                f"Each label must come once, but {label!r} is given to {models[label]} and to "
                f"{model}."
            )
        models[label] = os.path.expanduser(model)
    return models


def _is_model_alone(text: str) -> bool:
    """Return whether a text has no label: a folder's name may hold "=" as well."""
    return "=" not in text or text.startswith((".", "/", "~")) or Path(text).is_dir()


def models_to_judge(
    data: Path | None,
    global_model: str | None,
    texts: Sequence[str] | None,
    countries: Sequence[str] | None,
    *,
    cache: Path,
    encoder: EncoderConfig,
) -> ModelsToJudge:
    """Return what a command line asks to be judged.

    `texts` are LABEL=MODEL, or one model alone, which is that of the one country. `global_model`
    is the one where no text is labelled "global".

    Raises:
        ValueError: No data or model, no global model or two, a label twice, or a model alone
            beside other models or countries.
    """
    if data is None or not texts:
        raise ValueError(
            "Models and what judges them must be given: --data with --model, or --run RUN of a "
            "sweep."
        )
    owners = tuple(countries or ())
    alone = [text for text in texts if _is_model_alone(text)]
    if len(alone) > 1 or (alone and len(owners) != 1):
        raise ValueError(
            "A model without a label is that of one --country, but there are "
            f"{len(alone)} without and {len(owners)} countries. Give LABEL=MODEL instead, "
            "such as Mexico/scpo=models/mexico."
        )
    models = parse_models(f"{owners[0]}={text}" if text in alone else text for text in texts)
    given = {name for name in (global_model, models.pop(GLOBAL, None)) if name is not None}
    if len(given) != 1:
        raise ValueError(
            f"One global model must be given, by --global-model or --model {GLOBAL}=MODEL, but "
            f"there {'are ' + ' and '.join(sorted(given)) if given else 'is none'}."
        )
    (named,) = given
    return ModelsToJudge(data, named, models, cache, countries=owners, encoder=encoder)


def describe_content(judged: ModelsToJudge) -> dict[str, Any]:
    """Return what shapes an evaluation, wherever data and models lie: they stand by their hashes.

    Raises:
        OSError: There are no such data, or a model cannot be found.
    """
    sources = find_models(judged.models)
    reference = find_model(judged.global_model, revision=judged.revision)
    heads = {label: label.partition("/") for label in sources}
    named = {label: "".join([*one_names([head]), *rest]) for label, (head, *rest) in heads.items()}
    return {
        "data": hash_interactions(judged.data),
        "global_model": content_hash(reference),
        "models": [[named[label], content_hash(each)] for label, each in sources.items()],
        "countries": one_names(judged.countries),
        "split": judged.split,
        "encoder": judged.encoder.model_dump(),
    }


def name_countries(models: Mapping[str, str], present: set[str]) -> dict[str, str]:
    """Return models by label, with the countries of the data in the spelling used here.

    Raises:
        ValueError: A label is taken, names a country that is not there, looks like a misspelt
            country, or comes twice.
    """
    named: dict[str, str] = {}
    for label, model in models.items():
        head, slash, arm = label.partition("/")
        country = canonical_country(head)
        known = country if country and country in present else head
        if slash and (known not in present or not arm):
            near = difflib.get_close_matches(known, sorted(present), n=3, cutoff=0.0)
            raise ValueError(
                f"A label with an arm is COUNTRY/ARM with a country of the data (nearest: "
                f"{', '.join(near)}), but got {label!r}."
            )
        if known not in present:
            refuse_misspelt(head, present)
        name = f"{known}{slash}{arm}"
        if name in TAKEN or arm in TAKEN:
            raise ValueError(f"A label must not be {', '.join(TAKEN)}, but got {label!r}.")
        if name in named:
            raise ValueError(f"Each label must come once, but {name!r} comes twice.")
        named[name] = model
    return named


def owners_of(labels: Iterable[str], present: set[str]) -> list[str]:
    """Return the countries that labels name, in their order."""
    owners = (split_label(label, sorted(present))[0] for label in labels)
    return list(dict.fromkeys(owner for owner in owners if owner is not None))
