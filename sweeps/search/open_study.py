"""The study of one country in the journal of a run, to look at."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.search.journal import JOURNAL


def open_study(run: Path, country: str) -> optuna.Study:
    """Return a country's study as its search left it.

    Raises:
        FileNotFoundError: The run has no journal, or no study of this country.
        ValueError: The journal is damaged.
    """
    journal = run / JOURNAL
    if not journal.is_file():
        raise FileNotFoundError(f"No studies at {journal}. Has the search of {run} begun?")
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.load_study(study_name=country, storage=storage)
    except KeyError as error:
        raise FileNotFoundError(f"{journal} has no study of {country}.") from error
    except (ValueError, TypeError, AssertionError, RecursionError) as error:
        raise ValueError(
            f"{journal} is damaged: {error}. `scpo sweep --resume` makes it again from the "
            "records."
        ) from error
