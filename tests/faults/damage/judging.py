"""What is read of a run, by whom, and what is wrong with how a reader ended on a damaged file."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.faults import readers
from tests.faults.finished_run import MODEL
from tests.faults.readers import Ended, is_equal

Reader = Callable[[Path], Ended]
TABLES = (readers.rank, readers.curves, readers.report)
WHOLE = (*TABLES, readers.evaluate, readers.resume, readers.repair)
MODELS = (readers.evaluate, readers.resume)
FINALS = (readers.load, readers.evaluate, readers.repair)
# Files of models are all read, each by a reader in turn.
ARTEFACTS: dict[str, tuple[Reader, ...]] = {
    "trials.jsonl": WHOLE,
    "trials.end.json": WHOLE,
    "config.yaml": WHOLE,
    "run.json": WHOLE,
    "split.json": WHOLE,
    "data/interactions.parquet": WHOLE,
    "user_weights.csv": (*TABLES, readers.resume, readers.repair),
    "models.json": (*TABLES, readers.resume, readers.repair),
    "global/*": MODELS,
    f"{MODEL}/*": FINALS,
}
ONLY_SHOWN = ("README.md", ".scpo.json")  # the card, and what wrote the folder
SET_ASIDE = re.compile(r"damaged|repaired|missing")


def files_of(run: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern that shape what is read, relative to the run."""
    found = [path for path in run.glob(pattern) if path.is_file()]
    return sorted(path.relative_to(run) for path in found if path.name not in ONLY_SHOWN)


def fault_of(ended: Ended, sound: Ended, file: Path) -> str | None:
    """Return what is wrong with how a reader ended on a damaged file, None if nothing is."""
    named = any(name and name in ended.said for name in (file.name, file.parent.name))
    if ended.has_traceback:
        return f"traceback: {ended.said[-200:]}"
    if ended.code == 2:
        return None if named else f"unnamed: {ended.said[-200:]}"
    if SET_ASIDE.search(ended.said):
        return None if named else f"set aside without its name: {ended.said[-200:]}"
    same = is_equal(ended.result, sound.result)
    return None if same and ended.code == sound.code else f"used in silence: {ended.said[-200:]}"
