"""The Optuna storage of a run: a journal file that only the driver writes.

optuna-dashboard opens it. It is built anew from the ledger at every start.
"""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def new_storage(run: Path) -> JournalStorage:
    """Return the empty storage of a run's studies, in place of an older one."""
    journal = run / "optuna.journal"
    for file in run.glob(f"{journal.name}*"):
        file.unlink()  # rebuilt from the ledger, so no ghost and no lock survives a kill
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(JournalFileBackend(str(journal)))
