"""The study from its configuration to STUDY.md, data set by data set; the same call resumes it.

Every data set has a folder of its own in the run's, with what is computed once (arrays, global
model, cells or a ledger) and its wall time over all calls. The page is written after each.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scpo.config import load_config
from scpo.files.atomic import write_json
from scpo.models.model_source import find_model
from sweeps.config import Say, SweepConfig
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.research.study.fine_tuned import run_fine_tuned
from sweeps.research.study.frozen_cells import run_frozen
from sweeps.research.study.study_config import FrozenConfig, StudyConfig, TunedConfig
from sweeps.research.study_page.methods import describe_heads, describe_tuning
from sweeps.research.study_page.rows import DataSetResult, study_rows
from sweeps.research.study_page.study_page import refuse_other_page, write_results
from sweeps.research.study_page.survey_table import kin_remark, similarity_remark, similarity_table
from sweeps.run.run_folder import keep_config

_WALL_FILE = "wall.json"
_DONE_FILE = "done"  # an empty file: nothing is left to compute


def run_study(
    file: Path,
    run: Path,
    say: Say,
    *,
    only: Sequence[str] = (),
    page: Path | None = None,
    workers: int | None = None,
) -> list[DataSetResult]:
    """Run what is left of a study, write its page, and return the finished data sets.

    Configurations of its sweeps lie beside `file`. Without `only` all data sets are worked on,
    without `page` it is STUDY.md in the folder, without `workers` (processes, and lanes) there is
    one a core.

    Raises:
        FileNotFoundError: Data or backbone are missing; the message names all files.
        ValueError: No such data set, the folder holds a study of another configuration, or `page`
            is a file that no study wrote.
    """
    config = load_config(StudyConfig, file)
    sets: dict[str, FrozenConfig | TunedConfig] = {**config.frozen, **config.fine_tuned}
    unknown = [name for name in only if name not in sets]
    if unknown:
        raise ValueError(f"Data sets must be of {', '.join(sets)}, but got {unknown}.")
    require_files(config)
    page = page or run / "STUDY.md"
    refuse_other_page(page)
    keep_config(config, run)
    results: dict[str, DataSetResult] = {}
    for name, data_set in sets.items():
        folder = run / name
        if only and name not in only and not (folder / _DONE_FILE).is_file():
            continue  # a finished one is read for the page
        results[name] = _compute(config, name, data_set, folder, file, say, workers)
        (folder / _DONE_FILE).touch()
        missing = [sets[other].title for other in sets if other not in results]
        write_results(list(results.values()), run, page, missing, file, note=config.note)
        say(f"{data_set.title}: done")
    return list(results.values())


def require_files(config: StudyConfig) -> None:
    """Refuse to start without the data sets and the backbone.

    Raises:
        FileNotFoundError: Some are missing; the message names them and what to do.
    """
    missing = [name for name in config.files if not Path(name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The study needs {', '.join(config.files)}, but does not find "
            f"{', '.join(missing)}. Name the folder that holds the data sets: "
            "make study DATA=FOLDER, or set SCPO_DATA."
        )
    find_model(config.backbone)


@contextmanager
def _keep_time(folder: Path) -> Iterator[None]:
    """Add the seconds of this call to the folder's wall time, also when it is interrupted."""
    started = time.monotonic()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _WALL_FILE, read_wall(folder) + time.monotonic() - started)


def read_wall(folder: Path) -> float:
    """Return the wall time of all calls so far, in seconds."""
    file = folder / _WALL_FILE
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else 0.0


def _compute(
    config: StudyConfig,
    name: str,
    data_set: FrozenConfig | TunedConfig,
    folder: Path,
    file: Path,
    say: Say,
    workers: int | None,
) -> DataSetResult:
    failed, table, remark = 0, "", ""
    if isinstance(data_set, FrozenConfig):
        with _keep_time(folder):
            cells = run_frozen(data_set, config, folder, say, workers)
        records = [TrialRecord.model_validate(line) for cell in cells for line in cell["records"]]
        method = describe_heads(config, data_set, cells)
        if data_set.has_shares:
            table, remark = (
                similarity_table(cells),
                f"{similarity_remark(cells)} {kin_remark(cells)}",
            )
    else:
        sweep = load_config(SweepConfig, file.parent / data_set.sweep)
        sweep = sweep.model_copy(update={"cache": str(folder / "cache")})
        with _keep_time(folder):
            records = run_fine_tuned(sweep, data_set.heads, config, folder, say, workers)
        method = describe_tuning(config, data_set, sweep, records)
        failed = sum(record.state == "failed" for record in Ledger(folder).read())
    return DataSetResult(
        name,
        data_set.title,
        data_set.about,
        method,
        data_set.unit,
        study_rows(records, data_set.unit),
        failed,
        read_wall(folder),
        table,
        remark,
        isinstance(data_set, FrozenConfig) and data_set.annotators is not None,
    )
