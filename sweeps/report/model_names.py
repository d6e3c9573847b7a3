"""`models.json`: which model of a run is each country's, and which answer of the search it is.

In come rankings; out comes a file beside the folder `models`: by country what to load, and the
three answers in words. Where the global model is kept no model is trained, and it is named.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scpo.files.atomic import write_json
from sweeps.ledger.words import GLOBAL, slug
from sweeps.ranking.ranking import CountryRanking
from sweeps.report.leaderboard import describe_answer

MODELS_FILE = "models.json"


def write_model_names(rankings: Sequence[CountryRanking], run: Path) -> None:
    """Write the file into a run's folder, whole or not at all."""
    write_json(run / MODELS_FILE, {ranking.country: _names(ranking) for ranking in rankings})


def _names(ranking: CountryRanking) -> dict[str, Any]:
    """Return what a country is to use; no model where nothing could be ranked."""
    model = None
    if ranking.settings:
        model = GLOBAL if ranking.trained is None else f"models/{slug(ranking.country)}"
    answers = {name: describe_answer(ranking, name) for name in ranking.answers}
    return {"model": model, "answer": ranking.rule.which, "answers": answers}
