"""The study from its configuration to STUDY.md, data set by data set; the same call goes on.

Every data set has a folder of its own in the run's, with what is computed once (arrays, global
model, cells or a ledger) and its wall time over all calls. The page is written after each.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scpo.config import dump_config, load_config
from scpo.files.atomic import write_json, write_text
from scpo.models.model_source import find_model
from sweeps.config import Say, SweepConfig
from sweeps.ledger.records import Ledger, TrialRecord
from sweeps.research.study.fine_tuned import run_fine_tuned
from sweeps.research.study.frozen import run_frozen
from sweeps.research.study.study_config import FrozenConfig, StudyConfig, TunedConfig
from sweeps.research.study_page.methods import describe_heads, describe_tuning
from sweeps.research.study_page.rows import study_rows
from sweeps.research.study_page.study_page import DataSetResult
from sweeps.research.study_page.survey_table import similarity_remark, similarity_table
from sweeps.research.study_page.written import write_results

WALL_FILE = "wall.json"
DONE_FILE = "done"  # an empty file: nothing is left to compute


def run_study(
    file: Path,
    run: Path,
    say: Say,
    *,
    only: Sequence[str] = (),
    page: Path | None = None,
    workers: int | None = None,
) -> list[DataSetResult]:
    """Run what is left of a study, write its page, and return what is done.

    Args:
        file: Configuration of the study; those of its sweeps lie beside it.
        run: Folder to write to.
        say: Called with a line of progress.
        only: Data sets to work on; none: all.
        page: Where the page goes; none: into the folder.
        workers: Processes, and lanes; none: one a core.

    Raises:
        FileNotFoundError: Data or backbone are missing; all missing files are named.
        ValueError: No such data set, or the folder holds a study of another configuration.
    """
    config = load_config(StudyConfig, file)
    sets: dict[str, FrozenConfig | TunedConfig] = {**config.frozen, **config.fine_tuned}
    unknown = [name for name in only if name not in sets]
    if unknown:
        raise ValueError(f"Data sets must be of {', '.join(sets)}, but got {unknown}.")
    check_files(config)
    _open(config, run)
    results: dict[str, DataSetResult] = {}
    for name, data_set in sets.items():
        folder = run / name
        if only and name not in only and not (folder / DONE_FILE).is_file():
            continue  # one that is done is read again for the page
        if isinstance(data_set, FrozenConfig):
            results[name] = _frozen(config, name, data_set, folder, say, workers)
        else:
            results[name] = _fine_tuned(config, name, data_set, file, folder, say, workers)
        (folder / DONE_FILE).touch()
        missing = [sets[other].title for other in sets if other not in results]
        write_results(list(results.values()), run, page or run / "STUDY.md", missing, file)
        say(f"{data_set.title}: done")
    return list(results.values())


def check_files(config: StudyConfig) -> None:
    """Refuse to start without the data sets and the backbone.

    Raises:
        FileNotFoundError: Some are missing; the message names them and what to do.
    """
    missing = [name for name in config.files if not Path(name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The study needs {', '.join(config.files)}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there. Name the folder that holds the "
            "data sets: make study DATA=FOLDER, or set SCPO_DATA."
        )
    find_model(config.backbone)


@contextmanager
def keep_time(folder: Path) -> Iterator[None]:
    """Add the seconds of this call to the folder's wall time, also when it is cut off."""
    started = time.monotonic()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / WALL_FILE, read_wall(folder) + time.monotonic() - started)


def read_wall(folder: Path) -> float:
    """Return the wall time of all calls so far, in seconds."""
    file = folder / WALL_FILE
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else 0.0


def _frozen(
    config: StudyConfig,
    name: str,
    data_set: FrozenConfig,
    folder: Path,
    say: Say,
    workers: int | None,
) -> DataSetResult:
    """Return what heads on frozen features show of one data set."""
    with keep_time(folder):
        cells = run_frozen(
            data_set,
            folder,
            say,
            backbone=config.backbone,
            precision=config.precision,
            seeds=config.seeds,
            folds=config.folds,
            num_processes=workers,
        )
    records = [TrialRecord.model_validate(line) for cell in cells for line in cell["records"]]
    return DataSetResult(
        name,
        data_set.title,
        data_set.about,
        describe_heads(config, data_set, cells),
        data_set.unit,
        study_rows(records, data_set.unit),
        0,
        read_wall(folder),
        similarity_table(cells) if data_set.has_shares else "",
        similarity_remark(cells) if data_set.has_shares else "",
    )


def _fine_tuned(
    config: StudyConfig,
    name: str,
    data_set: TunedConfig,
    file: Path,
    folder: Path,
    say: Say,
    workers: int | None,
) -> DataSetResult:
    """Return what fine-tuning shows of one data set."""
    sweep = load_config(SweepConfig, file.parent / data_set.sweep)
    sweep = sweep.model_copy(update={"cache": str(folder / "cache")})
    with keep_time(folder):
        records = run_fine_tuned(
            sweep,
            data_set.heads,
            folder,
            say,
            seeds=config.seeds,
            folds=config.tuned_folds,
            num_lanes=workers,
        )
    return DataSetResult(
        name,
        data_set.title,
        data_set.about,
        describe_tuning(config, data_set, sweep, records),
        data_set.unit,
        study_rows(records, data_set.unit),
        sum(record.state == "failed" for record in Ledger(folder).read()),
        read_wall(folder),
    )


def _open(config: StudyConfig, run: Path) -> None:
    """Write the configuration down, or refuse a folder of another one."""
    file, resolved = run / "config.yaml", dump_config(config)
    if not file.is_file():
        write_text(file, resolved)
    elif file.read_text(encoding="utf-8") != resolved:
        raise ValueError(
            f"{file} differs from the configuration given, and a study has one configuration. "
            "Choose another --out, or go on with the same settings."
        )
