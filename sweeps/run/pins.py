"""What a run's figures depend on, pinned by content in `run.json` when it begins.

Every start and every reader compares: other data, another split or another global model at the
same place is refused by name, and so is a damaged file. A run of an earlier version has no pins
until it is resumed.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scpo.arrays import FloatArray
from scpo.files.atomic import hash_file, hash_values, read_versioned, write_json

RUN_FILE = "run.json"
_FORMAT = 1
_SAMPLES = 16  # rewards of each country that are kept
_TOLERANCE = 0.05  # of the largest: scored anew on another device they differ, by bf16 at most
_MADE = "made"  # of a pin whose file a resumed sweep writes again
_RESTORE = "Restore it, or start a new run with another --out: records of both cannot be compared."


def read_run_file(run: Path) -> dict[str, Any]:
    """Return what `run.json` says, nothing where there is none.

    Raises:
        ValueError: It is damaged, or of a later version.
    """
    file = run / RUN_FILE
    held = read_versioned(file, range(_FORMAT + 1), f"and pins the run's inputs. {_RESTORE}")
    if ("sum" in held or "format" in held) and held.get("sum") != _sum_of(held):
        raise ValueError(f"{file} has other bytes than were written. {_RESTORE}")
    if not _are_pins(held.get("pins", {})):
        raise ValueError(f"{file} must pin files by path and sha256, but does not. {_RESTORE}")
    return held


def update_run_file(run: Path, values: Mapping[str, Any]) -> None:
    """Set entries of `run.json`, which is created if missing."""
    held = {**read_run_file(run), "format": _FORMAT, **values}
    write_json(run / RUN_FILE, {**held, "sum": _sum_of(held)})


def pin(run: Path, name: str, value: object) -> None:
    """Pin a plain value under a name, or compare it with the one pinned before.

    Raises:
        ValueError: It differs; or `run.json` is damaged.
    """
    pins = read_run_file(run).get("pins", {})
    if name not in pins:
        update_run_file(run, {"pins": {**pins, name: value}})
    compare_pin(run, name, value)


def compare_pin(run: Path, name: str, value: object) -> None:
    """Compare a value with the one pinned under a name, where there is one.

    Raises:
        ValueError: It differs; or `run.json` is damaged.
    """
    held = read_run_file(run).get("pins", {}).get(name, value)
    if held != value:
        raise ValueError(_refusal(run, name, held, value))


def pin_file(run: Path, name: str, file: Path) -> None:
    """Pin a file by its sha256, or compare it; one in the run is named relative to it.

    Raises:
        ValueError: It differs; or `run.json` is damaged.
    """
    is_inside = file.resolve().is_relative_to(run.resolve())
    path = file.resolve().relative_to(run.resolve()) if is_inside else file.resolve()
    held = read_run_file(run).get("pins", {}).get(name)
    value = {"file": str(path), "sha256": hash_file(file)}
    if held is None:
        pin(run, name, value)
    elif held["sha256"] != value["sha256"]:  # the same content elsewhere is the same
        raise ValueError(_refusal(run, name, held["sha256"], value["sha256"], file))


@contextmanager
def made_file(run: Path, name: str, file: Path) -> Iterator[None]:
    """Pin a file of the run that the block writes anew, as every resumed sweep would.

    A block that does not end well leaves it without a pin.
    """
    pins = read_run_file(run).get("pins", {})
    if name in pins:
        update_run_file(run, {"pins": {key: held for key, held in pins.items() if key != name}})
    yield
    if file.is_file():
        value = {"file": file.relative_to(run).as_posix(), "sha256": hash_file(file), _MADE: True}
        update_run_file(run, {"pins": {**read_run_file(run).get("pins", {}), name: value}})


def pin_rewards(run: Path, country: str, rewards: FloatArray) -> None:
    """Pin a country's reference rewards by a sample, or compare them within what devices differ.

    Raises:
        ValueError: They differ by more.
    """
    name = f"reference rewards of {country}"
    which = np.unique(np.linspace(0, len(rewards) - 1, _SAMPLES).astype(int))
    value = {"texts": len(rewards), "sample": [float(f"{rewards[at]:.6g}") for at in which]}
    held = read_run_file(run).get("pins", {}).get(name)
    if held is None or held["texts"] != value["texts"]:
        pin(run, name, value)
        return
    before, now = np.array(held["sample"]), rewards[which]
    if not np.abs(now - before).max() <= _TOLERANCE * max(np.abs(before).max(), 1e-6):
        raise ValueError(_refusal(run, name, before[:3].tolist(), now[:3].tolist()))


def check_pins(run: Path) -> None:
    """Compare the files that a run's figures depend on with its pins; an absent one is let pass.

    Raises:
        ValueError: One differs, or `run.json` is damaged.
    """
    for name, held in read_run_file(run).get("pins", {}).items():
        if isinstance(held, dict) and "file" in held:
            file = run / held["file"]
            if not file.is_file() or hash_file(file) == held["sha256"]:
                continue
            if is_made(held):
                raise ValueError(
                    f"The {name} ({file}) have other bytes than the sweep wrote. Set the file "
                    f"aside with `scpo repair {run}`; the sweep writes it again with --resume."
                )
            raise ValueError(_refusal(run, name, held["sha256"], hash_file(file), file))


def absent_files(run: Path) -> list[Path]:
    """Return the files that a sweep made and would write again, but that are not there."""
    pins = read_run_file(run).get("pins", {}).values()
    made = [run / held["file"] for held in pins if isinstance(held, dict) and is_made(held)]
    return [file for file in made if not file.is_file()]


def _are_pins(held: object) -> bool:
    """Tell whether these are pins by name; one of a file has texts as path and sha256."""
    return isinstance(held, dict) and all(
        isinstance(each.get("file"), str) and isinstance(each.get("sha256"), str)
        for each in held.values()
        if isinstance(each, dict) and {"file", "sha256"} & each.keys()
    )


def is_made(held: Mapping[str, Any]) -> bool:
    """Tell whether a pinned file is one that a resumed sweep writes again."""
    return held.get(_MADE) is True


def _refusal(run: Path, name: str, before: object, now: object, file: Path | None = None) -> str:
    where = "" if file is None else f" ({file})"
    return (
        f"The {name}{where} of {run} must be what the run was begun with ({RUN_FILE}), but "
        f"differs: it was {_short(before)}, and is {_short(now)}. {_RESTORE}"
    )


def _short(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value[:12]
    return text if len(text) < 150 else f"{text[:147]}..."


def _sum_of(held: Mapping[str, Any]) -> str:
    body = {key: value for key, value in held.items() if key != "sum"}
    return hash_values(body)[:16]
