"""Copies what a run has written on the cluster into a local folder.

A folder of s3:// or gs:// is read from here, with the credentials of this machine. Any other lies
where only the cluster sees it: a short job on the cluster packs it and prints it into its log,
which comes back through the Jobs API, so that no further port or login is needed.
"""

import base64
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pyarrow.fs import FileSelector

from cluster.access.profile import REMOTE_SCHEMES
from cluster.access.stores import BUCKET_ADVICE, open_store
from cluster.jobs.client import FETCHES, job_status, submit
from cluster.jobs.logs import job_log
from cluster.jobs.packing import PREFIX, is_left_out
from cluster.jobs.submission import Submission

LEFT_OUT = ("models", "global", "cache", "data", "checkpoints", "*.checkpoints", "*.tmp")
"""Large or rebuildable; `models` can be asked for."""

MAX_BYTES = 200 * 2**20
POLL_INTERVAL_S = 0.3
PACKING_LIMIT_S = 600.0


@dataclass(frozen=True)
class Fetched:
    """What was copied.

    Attributes:
        source: Folder on the cluster.
        folder: Local folder.
        num_files: Number of files.
    """

    source: str
    folder: Path
    num_files: int


def fetch(address: str | None, run_name: str, to: Path, *, with_models: bool = False) -> Fetched:
    """Copy the outputs of a submitted run, whether it has ended or still runs.

    Args:
        address: See `cluster.access.connection.resolve_address`.
        run_name: Name of the job.
        to: Local folder; files of the same names are replaced, others stay.
        with_models: Copy the trained models too.

    Raises:
        ValueError: No job has this name, or it was not sent by `scpo submit`.
        FileNotFoundError: It has written nothing yet.
        RuntimeError: The cluster or the storage cannot be reached, the packed outputs are larger
            than 200 MiB, or they come damaged.
    """
    source = job_status(address, run_name).metadata.get("scpo_out")
    if source is None:
        raise ValueError(
            f"A job must say where its outputs lie, but {run_name} does not: it was not sent by "
            "`scpo submit`. Copy its files by hand."
        )
    left_out = [name for name in LEFT_OUT if not (with_models and name == "models")]
    if source.startswith(REMOTE_SCHEMES):
        num_files = copy_remote(source, to, left_out)
    else:
        num_files = unpack(_pack_there(address, run_name, source, left_out), source, to)
    return Fetched(source, to, num_files)


def copy_remote(source: str, to: Path, left_out: Sequence[str]) -> int:
    """Copy the files of a folder of an object store, and return how many they are.

    Args:
        source: URI that pyarrow reads.
        to: Local folder.
        left_out: Patterns of paths that stay.

    Raises:
        FileNotFoundError: The folder holds nothing to copy.
        RuntimeError: The storage refuses or does not answer.
    """
    try:
        system, root = open_store(source)
        found = system.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
        names = [
            name
            for info in found
            if info.is_file
            and not is_left_out(name := Path(info.path).relative_to(root), left_out)
        ]
        for name in names:
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.tmp")
            with system.open_input_stream(f"{root}/{name.as_posix()}") as stream:
                with partial.open("wb") as file:
                    shutil.copyfileobj(stream, file)
            partial.replace(target)
    except OSError as error:
        raise RuntimeError(
            f"The storage {source} must be readable from here, but got: "
            f"{str(error).splitlines()[0]}. {BUCKET_ADVICE}"
        ) from error
    if not names:
        raise FileNotFoundError(_nothing(source))
    return len(names)


def unpack(log: str, source: str, to: Path) -> int:
    """Write the files that a packing job has printed, and return how many they are.

    Args:
        log: The job's log; lines of others in it are passed over.
        source: Folder on the cluster, for messages.
        to: Local folder.

    Raises:
        FileNotFoundError: The folder does not exist there or holds nothing to copy.
        RuntimeError: It is too large, or what came is not whole.
    """
    lines = [line[len(PREFIX) :] for line in log.splitlines() if line.startswith(PREFIX)]
    header = json.loads(lines[0]) if lines else {}
    if "missing" in header or header.get("num_files") == 0:
        raise FileNotFoundError(_nothing(source))
    if "too_large" in header:
        raise RuntimeError(
            f"What is fetched through a job must be at most {MAX_BYTES >> 20} MiB packed, but "
            f"{source} has {header['size'] >> 20} MiB. Leave the models out, or copy them with "
            "rsync, kubectl cp or ray rsync-down."
        )
    content = b"".join(map(base64.b64decode, lines[1:]))
    if hashlib.sha256(content).hexdigest() != header.get("sha256"):
        raise RuntimeError(
            f"The files of {source} must come whole, but {len(content)} of "
            f"{header.get('size', 'unknown')} bytes did. Fetch again."
        )
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        tar.extractall(to, filter="data")
    return int(header["num_files"])


def _pack_there(address: str | None, run_name: str, source: str, left_out: Sequence[str]) -> str:
    """Run the packing program as a job and return its log."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name("packing.py"), folder)
        packing = Submission(
            submission_id=f"{run_name}-fetch-{uuid4().hex[:8]}",
            entrypoint=("python", "packing.py", source, str(MAX_BYTES), *left_out),
            working_dir=Path(folder),
            excludes=(),
            metadata={FETCHES: run_name},
        )
        submit(packing, address=address)
    name = packing.submission_id
    deadline_s = time.monotonic() + PACKING_LIMIT_S
    while not (job := job_status(address, name)).status.is_terminal():
        if time.monotonic() > deadline_s:
            raise RuntimeError(
                f"The job {name} must pack {source} within {PACKING_LIMIT_S:.0f} s, but it is "
                f"still {job.status}. Look at `scpo status {name}`, and stop it."
            )
        time.sleep(POLL_INTERVAL_S)
    log = job_log(address, name)
    if job.status != "SUCCEEDED":
        raise RuntimeError(f"The job {name} must pack {source}, but it failed: {job.message}")
    return log


def _nothing(source: str) -> str:
    """Return the message about a folder without outputs."""
    return (
        f"The run must have written something to {source}, but there is nothing. Wait until it "
        "has begun, or look at its log: scpo logs NAME."
    )
