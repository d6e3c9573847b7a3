"""One tracker and one run: what the tracker lacks is sent, in the order of the ledger."""

import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from scpo.files.atomic import hash_values
from scpo.files.output_folder import one_writer
from scpo.text.counts import format_count
from scpo.text.secrets import mask_secrets
from sweeps.ledger.chain import run_of_line
from sweeps.ledger.records import LEDGER_NAME, TrialRecord
from sweeps.ledger.weights_file import WEIGHTS_FILE
from sweeps.tracking.mlflow_tracker import MlflowTracker
from sweeps.tracking.sent_memory import MEMORY_FOLDER, SentMemory
from sweeps.tracking.sent_values import masked, sent_sweep, sent_trial
from sweeps.tracking.tensorboard_tracker import TensorboardTracker
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackio_tracker import TrackioTracker
from sweeps.tracking.wandb_tracker import WandbTracker

_TRACKERS: dict[str, tuple[str, Callable[[], Tracker]]] = {  # package, adapter
    "wandb": ("wandb", WandbTracker),
    "mlflow": ("mlflow", MlflowTracker),
    "tensorboard": ("tensorboardX", TensorboardTracker),
    "trackio": ("trackio", TrackioTracker),
}
_TEXTS = (".html", ".csv", ".tex")
_LAST = ("report.html", "ablation.csv")  # what a sweep and an ablation write last
_FIGURES = (".png", ".pdf", ".svg")


def check_installed(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not installed.

    Raises:
        RuntimeError: One is not; the message has the command that installs it.
    """
    for name in names:
        package = _TRACKERS[name][0]
        if importlib.util.find_spec(package) is None:
            raise RuntimeError(
                f"report_to {name} needs the package {package}, which is not installed. Install "
                f"it with: pip install {package}"
            )


class Delivery:
    """Sends the records of a run to one tracker, each once.

    Args:
        name: The tracker's.
        folder: Of the run.
        run: Id of the run, 8 hexadecimal digits.
    """

    def __init__(self, name: str, folder: Path, run: str) -> None:
        self.name = name
        self.folder = folder
        self.memory = SentMemory(folder, name, run)
        self.tracker: Tracker | None = None

    def send(self, record: TrialRecord) -> bool:
        """Send a record unless the tracker has it; return whether it was sent."""
        if not self.memory.lacks(record):
            return False
        self._open().send_trial(sent_trial(record, len(self.memory.taken)))
        self.memory.add(record)
        return True

    def end(self, files: Sequence[Path], *, finished: bool) -> None:
        """Attach files, without secrets, and close the tracker."""
        tracker = self._open()
        with tempfile.TemporaryDirectory() as temporary:
            sent = [_without_secrets(file, Path(temporary)) for file in files]
            if sent:
                tracker.send_files(sent)
            tracker.close(finished=finished)

    def _open(self) -> Tracker:
        if self.tracker is None:
            self.tracker = _TRACKERS[self.name][1]()
            self.tracker.open(sent_sweep(self.memory.run, self.folder))
        return self.tracker


def send_run(
    names: Iterable[str],
    folder: Path,
    records: Sequence[TrialRecord],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Send a run to trackers now, and return how many trainings each lacked.

    Where one tracker fails, the others are sent to; `say` takes lines of progress.

    Raises:
        RuntimeError: A package is not installed, or a tracker failed; it is named.
        ValueError: Another process sends the run to this tracker.
        FileNotFoundError: The folder has no configuration.
    """
    names, files, run = list(names), result_files(folder), run_id(folder)
    counts: dict[str, int] = {}
    failed: list[str] = []
    check_installed(names)
    sent_sweep(run, folder)  # refused before anything is opened
    for name in names:
        lock = one_writer(lock_of(folder, name), f"What {name} has of {folder}")
        with lock, Told(name, failed.append):
            delivery = Delivery(name, folder, run)
            lacking = sum(delivery.memory.lacks(record) for record in records)
            trainings = format_count(len(records), "training")
            say(f"{name}: sending {lacking} of {trainings}, all it lacks.")
            counts[name] = sum(delivery.send(record) for record in records)
            delivery.end(files, finished=any(file.name in _LAST for file in files))
            say(f"{name}: sent.")
    if failed:
        again = "What arrived is remembered: mend that and run the same command again"
        raise RuntimeError(f"{'; '.join(failed)}. {again}.")
    return counts


class Told(AbstractContextManager[None]):
    """Ends a block at any error, which it tells: what a tracker's package raises is not known."""

    def __init__(self, tracker: str, tell: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.tell = tell

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or isinstance(error, KeyboardInterrupt):
            return False
        said = f"{type(error).__name__}: {error}".rstrip(". ")
        self.tell(f"{self.tracker}: {masked(said)}")
        return True


def lock_of(folder: Path, name: str) -> Path:
    """Return the lock of whoever sends a run to a tracker."""
    return folder / MEMORY_FOLDER / f"{name}.lock"


def run_id(folder: Path) -> str:
    """Return the id of a run by its ledger; one of an earlier version has a hash of its folder."""
    file = folder / LEDGER_NAME
    lines = file.read_bytes().split(b"\n") if file.is_file() else []
    return next(filter(None, map(run_of_line, lines)), hash_values(folder.resolve().name)[:8])


def result_files(folder: Path) -> list[Path]:
    """Return the page, tables and figures of a run, none of single users.

    The table of an ablation lies beside its folder.
    """
    kinds = (*_TEXTS, *_FIGURES)
    files = [*folder.iterdir()]
    if folder.name == "ablation":
        files.append(folder.parent / "ablation.csv")
    found = [file for file in files if file.suffix in kinds and file.is_file()]
    return sorted(file for file in found if file.name != WEIGHTS_FILE)


def _without_secrets(file: Path, folder: Path) -> Path:
    """Return a file, or a copy in a folder where it holds secrets."""
    if file.suffix not in _TEXTS:
        return file
    text = file.read_text(encoding="utf-8")
    masked = mask_secrets(text)
    if masked == text:
        return file
    copy = folder / file.name
    copy.write_text(masked, encoding="utf-8")
    return copy
