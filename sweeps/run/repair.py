"""What is sound of a damaged run: kept; what is not: set aside, or named where only a copy helps.

Sound records stay in the ledger and damaged final models are moved to `set-aside/`, so that
`scpo sweep --resume` trains what is missing. Data, split and global model cannot be made again
as they were: they are named.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scpo.files.atomic import MARKER, hash_file, read_marker, write_text
from scpo.models.reward_model import content_hash
from sweeps.ledger.end_file import END_NAME, read_end, write_end
from sweeps.ledger.records import LEDGER_NAME, read_records
from sweeps.ledger.salvage import SalvagedLedger, salvage_lines
from sweeps.run.pins import RUN_FILE, is_made, read_run_file

SET_ASIDE = "set-aside"


@dataclass(frozen=True)
class Part:
    """One part of a run, and how it was found.

    Attributes:
        name: A file or folder, relative to the run.
        state: "sound", "repaired", or "damaged" where only a copy of yours helps.
        word: What was found, one sentence.
    """

    name: str
    state: str
    word: str


def repair_run(run: Path) -> list[Part]:
    """Keep what is sound of a run and set aside what is not; nothing is deleted.

    Raises:
        FileNotFoundError: There is no ledger.
        ValueError: Its folder is no sweep's, or the ledger's end is of another run.
    """
    if not (run / LEDGER_NAME).is_file():
        raise FileNotFoundError(f"No ledger at {run / LEDGER_NAME}. Is {run} a sweep's folder?")
    ledger = list(_ledger_parts(run))
    return [*ledger, *_marker_parts(run), *_pinned_parts(run), *_final_parts(run)]


def _ledger_parts(run: Path) -> Iterator[Part]:
    """Yield the state of the ledger, and of what says where it ends if that is damaged."""
    try:
        end = read_end(run)
    except ValueError:
        end = None
        found = salvage_lines(run / LEDGER_NAME)
        yield Part(END_NAME, "repaired", f"{_move_away(run, run / END_NAME)}, and written again.")
        write_end(run, found.end)
    yield _repair_ledger(run, salvage_lines(run / LEDGER_NAME, end))


def _repair_ledger(run: Path, found: SalvagedLedger) -> Part:
    file = run / LEDGER_NAME
    if found.fault is None:
        return Part(LEDGER_NAME, "sound", f"{found.num_sound} records.")
    if found.num_sound == 0 and not (run / RUN_FILE).is_file():
        raise ValueError(f"{file} holds no record of a sweep. Is {run} a sweep's folder?")
    kept = _free_path(run / SET_ASIDE / LEDGER_NAME)
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(file.read_bytes())
    write_text(file, found.sound.decode())
    write_end(run, found.end)
    faults = " ".join(fault for _, fault in found.set_aside[:3])
    more = f" And {len(found.set_aside) - 3} more." if len(found.set_aside) > 3 else ""
    lost = faults + more if faults else found.fault
    return Part(
        LEDGER_NAME,
        "repaired",
        f"{found.num_sound} records kept, {len(found.set_aside)} lines set aside: {lost} "
        f"The ledger as it was: {kept.relative_to(run)}.",
    )


def _marker_parts(run: Path) -> Iterator[Part]:
    """Move a damaged marker of the folder away: the sweep's other files tell what it is."""
    try:
        read_marker(run)
    except ValueError:
        yield Part(
            MARKER, "repaired", f"{_move_away(run, run / MARKER)}; --resume writes it again."
        )


def _pinned_parts(run: Path) -> Iterator[Part]:
    """Yield the state of each file that the run's figures depend on."""
    try:
        pins = read_run_file(run).get("pins", {})
    except ValueError as error:
        yield Part(RUN_FILE, "damaged", str(error))
        return
    if not pins:
        word = "It pins nothing, so data and models were not compared; --resume pins them."
        yield Part(RUN_FILE, "damaged", word)
    for name, held in pins.items():
        if not (isinstance(held, dict) and "file" in held):
            continue
        file = run / held["file"]
        if is_made(held):
            yield _made_part(run, name, file, held["sha256"])
        elif not file.is_file():
            yield Part(held["file"], "damaged", f"The {name} is missing.")
        elif hash_file(file) != held["sha256"]:
            word = f"The {name} has other bytes than the run was begun with, by {RUN_FILE}."
            yield Part(held["file"], "damaged", word)
        else:
            yield Part(held["file"], "sound", f"The {name}.")


def _made_part(run: Path, name: str, file: Path, sha256: str) -> Part:
    """Return the state of a file that --resume writes again; a damaged one is moved away."""
    if not file.resolve().is_relative_to(run.resolve()):
        return Part(str(file), "damaged", f"The {name} must lie in the run, and is left alone.")
    at = file.relative_to(run).as_posix()
    if not file.is_file():
        return Part(at, "repaired", "It is missing, so --resume writes it again.")
    if hash_file(file) == sha256:
        return Part(at, "sound", f"The {name}.")
    return Part(at, "repaired", f"{_move_away(run, file)}; --resume writes it again.")


def _move_away(run: Path, path: Path) -> str:
    """Move a file or folder to `set-aside/`, and return why and where to."""
    away = _free_path(run / SET_ASIDE / path.name)
    away.parent.mkdir(exist_ok=True)
    path.rename(away)
    moved = f"so it was moved to {away.name} in {SET_ASIDE}/"
    return f"It has other bytes than the sweep wrote, {moved}"


def _final_parts(run: Path) -> Iterator[Part]:
    """Yield the state of each final model; a damaged one is moved away."""
    for record in read_records(run):
        if record.purpose != "final" or not record.model_path or not record.model_hash:
            continue
        folder = run / "models" / Path(record.model_path).name
        name = folder.relative_to(run).as_posix()
        if not folder.is_dir():
            yield Part(name, "repaired", "It is missing, so --resume trains it again.")
        elif content_hash(folder) == record.model_hash:
            yield Part(name, "sound", f"{record.country}, {record.arm}.")
        else:
            yield Part(name, "repaired", f"{_move_away(run, folder)}; --resume trains it again.")


def _free_path(path: Path) -> Path:
    """Return a path that does not exist yet: this one, or with a number."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
