"""`scpo evaluate`: score the models, and write tables, figures' numbers and cards."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scpo.evaluation.labelled_models import ModelsToJudge
from scpo.evaluation.pair_scores import pool_evaluations
from scpo.evaluation.reporting.card_facts import CardFacts
from scpo.evaluation.reporting.model_card import write_model_cards
from scpo.evaluation.score_models import score_models
from scpo.evaluation.tables import Tables, evaluate_models


def run_evaluation(
    folds: Sequence[ModelsToJudge],
    out: Path | None = None,
    *,
    part: str = "test",
    facts: Mapping[str, CardFacts] | None = None,
    say: Callable[[str], None] = print,
) -> Tables:
    """Score models on the held-out pairs of countries, evaluate them, and return the tables.

    Several `folds` are runs of the same arms whose test users differ: they are pooled per user.
    The pairs of `part` judge: "test", or "validation" for a look. Models with `facts`, by label,
    get a card beside them. Without a folder `out` nothing else is written.

    Raises:
        FileNotFoundError: No such data or model.
        ValueError: A label or country that does not fit, a country too small, no such part, or a
            model with another tokenizer than the global model's.
        RuntimeError: A reward is not finite.
    """
    scored = [score_models(judged, part=part, say=say) for judged in folds]
    scores = pool_evaluations([each for each, _ in scored], part)
    abouts = [about for _, about in scored]
    about = {"models": abouts[0]} if len(folds) == 1 else {"folds": abouts}
    tables = evaluate_models(scores, out, part=part, about=about)
    if facts:
        named = {
            label: Path(os.path.expanduser(each["model"])) for label, each in abouts[0].items()
        }
        folders = {label: folder for label, folder in named.items() if folder.is_dir()}
        for path in write_model_cards(facts, tables, folders, part=part):
            say(f"Card: {path}")
    return tables
