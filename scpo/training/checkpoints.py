"""Checkpoints of a training under a manifest: whole and verified, or moved aside.

A checkpoint is a folder `step-N` with what every rank wrote (weights, optimizer, schedule, random
states) and MANIFEST.json: size and sha256 of every file, step, losses so far, engine, number of
ranks and the identity of the training. It is whole once its manifest is there. Resuming takes the
newest that verifies; a damaged one goes to `damaged/` with the reason. DeepSpeed itself checks
nothing, and its `latest` file is not used.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scpo.files.atomic import hash_file, hash_values
from scpo.files.buckets import MANIFEST, describe_files
from scpo.files.places import Place, below
from scpo.files.provenance import installed_versions, utc_now
from scpo.text.json_text import load_json
from scpo.training.checkpoint_storage import Steps, open_steps
from scpo.training.engines import Engine

KEPT = 2


class TrainingStopped(RuntimeError):
    """A training stopped for a reason that a retry would meet again."""


@dataclass(frozen=True)
class Checkpoints:
    """Where, and after how many optimizer steps, a training is saved.

    `folder` is one that every rank reaches, or an object store's URI; `identity` is what must be
    equal for a training to resume from a checkpoint, by name. `ask` is asked after every step
    whether to save at once, since a node is about to go; every rank gets the same answer.
    """

    folder: Place
    every: int
    identity: dict[str, Any] = field(default_factory=dict)
    ask: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"`every >= 1` must hold, but got {self.every}.")

    def is_due(self, step: int) -> bool:
        """Return whether to save after a step; every rank must call, once a step."""
        is_asked = self.ask is not None and self.ask()
        return is_asked or step % self.every == 0


@dataclass(frozen=True)
class Resumption:
    """Where a training resumes: the steps done, the loss of each, and what was found damaged."""

    step: int
    losses: list[float]
    moved_aside: list[str]


def save_checkpoint(
    engine: Engine, checkpoints: Checkpoints, *, step: int, losses: list[float]
) -> None:
    """Write a checkpoint after some steps, with the loss of each; every rank must call.

    Raises:
        OSError: It cannot be written whole; those before it stay.
    """
    steps = open_steps(checkpoints.folder)
    name = f"step-{step:08d}"
    with steps.writing(name, engine.rank) as folder:
        engine.gather(None)
        with _full_disk_named(checkpoints.folder):
            engine.save_state(folder)
            torch.save(_random_states(engine.device), folder / f"random-rank-{engine.rank:05d}.pt")
        engine.gather(None)
        mine = steps.keep(name, folder, engine.rank, engine.world_size)
        written: dict[str, Any] = {}
        for digests in engine.gather(describe_files(folder, mine)):
            written |= digests
        if engine.rank == 0:
            body = {
                "step": step,
                "losses": losses,
                "engine": engine.kind,
                "world_size": engine.world_size,
                "identity": checkpoints.identity,
                "versions": installed_versions(),
                "written": utc_now(),
                "files": written,
            }
            steps.finish(name, folder, {**body, "sha256": hash_values(body)})
            for old in steps.names()[KEPT:]:
                steps.remove(old)
        engine.gather(None)


@contextmanager
def _full_disk_named(folder: Place) -> Iterator[None]:
    """Turn torch's RuntimeError about a write that failed into an OSError that says where."""
    try:
        yield
    except RuntimeError as error:
        if "inline_container" not in str(error):
            raise
        raise OSError(
            f"A checkpoint could not be written whole to {folder}. Is the disk full? Make room, "
            "then run the same command again."
        ) from error


def resume_training(engine: Engine, checkpoints: Checkpoints) -> Resumption:
    """Load the newest checkpoint that verifies into an engine just made; every rank must call.

    Returns:
        Where to resume: step 0 when there is no checkpoint.

    Raises:
        TrainingStopped: The newest good checkpoint is of another training, another engine or
            another number of ranks.
    """
    moved: list[str] = []
    steps = open_steps(checkpoints.folder)
    for name in engine.gather(steps.names())[0]:
        checkpoint = below(checkpoints.folder, name)
        folder, fault = _fetch(engine, steps, name)
        found = [fault for fault in engine.gather(fault) if fault]
        if not found and folder is not None:
            manifest = load_json((folder / MANIFEST).read_bytes())
            _check_same(engine, checkpoints, checkpoint, manifest)
            engine.load_state(folder)
            _restore_random_states(folder / f"random-rank-{engine.rank:05d}.pt", engine.device)
            engine.gather(None)
            steps.release(folder)
            return Resumption(int(manifest["step"]), list(manifest["losses"]), moved)
        if engine.rank == 0:
            steps.set_aside(name, f"{utc_now()} {found[0]}\n")
        engine.gather(None)
        moved.append(f"{checkpoint}: {found[0]}")
    return Resumption(0, [], moved)


def find_damage(folder: Path, *, share: int = 0, num_shares: int = 1) -> str | None:
    """Return what is wrong with a checkpoint, or None; each rank reads one share of its files."""
    try:
        manifest = load_json((folder / MANIFEST).read_bytes())
        files = manifest["files"]
        whole = manifest.pop("sha256") == hash_values(manifest)
    except FileNotFoundError:
        return "it has no manifest"
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        return "its manifest is damaged"
    for name in sorted(files)[share::num_shares]:
        if not (folder / name).is_file():
            return f"{name} is missing"
        if (folder / name).stat().st_size != files[name]["bytes"]:
            return f"{name} has {(folder / name).stat().st_size} bytes, not those written"
        if hash_file(folder / name) != files[name]["sha256"]:
            return f"{name} has other bytes than were written"
    return None


def _fetch(engine: Engine, steps: Steps, name: str) -> tuple[Path | None, str | None]:
    """Return a checkpoint's folder and what is wrong with this rank's share of it."""
    try:
        folder = steps.fetch(name)
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)
    return folder, find_damage(folder, share=engine.rank, num_shares=engine.world_size)


def _check_same(
    engine: Engine, checkpoints: Checkpoints, folder: Place, manifest: dict[str, Any]
) -> None:
    """Refuse a checkpoint of another training, engine or number of ranks."""
    ours = json.loads(json.dumps(checkpoints.identity))
    theirs = manifest["identity"]
    differing = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if differing:
        words = "; ".join(f"{k}: {theirs.get(k)} there, {ours.get(k)} here" for k in differing)
        raise TrainingStopped(
            f"{folder} is of another training ({words}). Remove {checkpoints.folder} to start "
            "afresh, or write to another folder."
        )
    if (manifest["engine"], manifest["world_size"]) != (engine.kind, engine.world_size):
        raise TrainingStopped(
            f"{folder} was written by {manifest['world_size']} ranks of {manifest['engine']}, "
            f"and this training has {engine.world_size} of {engine.kind}: shards do not fit "
            f"another number of ranks. Resume with as many, or remove {checkpoints.folder} to "
            "start afresh."
        )


def _random_states(device: torch.device) -> dict[str, Any]:
    name, keys, *rest = tuple(np.random.get_state(legacy=True))
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.array(keys)), *rest),
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _restore_random_states(path: Path, device: torch.device) -> None:
    states = torch.load(path, map_location="cpu", weights_only=True)
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
