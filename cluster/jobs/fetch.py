"""Copies the outputs of a run on the cluster into a local folder.

A folder of s3:// or gs:// is read from here, with the credentials of this machine. Other folders
are on the cluster only: a short job packs them and prints the archive into its log, which comes
back through the Jobs API, so no other port or login is needed.
"""

import base64
import hashlib
import io
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

from cluster.jobs.client import FETCHED_RUN, job_status, submit_job
from cluster.jobs.logs import job_log
from cluster.jobs.packing import ARCHIVE_PREFIX, is_left_out
from cluster.jobs.submission import Submission
from scpo.files.buckets import RemoteFolder
from scpo.files.places import is_remote
from scpo.text.json_text import load_json

LEFT_OUT = ("models", "global", "cache", "data", "checkpoints", "*.checkpoints", "*.tmp", "*.lock")
"""Large or rebuildable; `models` can be asked for."""

MAX_BYTES = 200 * 2**20
_POLL_INTERVAL_S = 0.3
_PACKING_LIMIT_S = 600.0


def fetch_run(
    address: str | None, run_name: str, to: Path, *, with_models: bool = False
) -> tuple[str, int]:
    """Copy the outputs of a submitted run, which may still be running, to a local folder.

    Files of the same names are replaced, others stay. The folder on the cluster and the number of
    files are returned.

    Raises:
        ValueError: No job has this name, or `scpo submit` did not submit it.
        FileNotFoundError: The run has written nothing yet.
        OSError: The storage cannot be read.
        RuntimeError: The cluster cannot be reached, the packed outputs are larger than 200 MiB,
            or they arrive damaged.
    """
    source = (job_status(address, run_name).metadata or {}).get("scpo_out")
    if source is None:
        raise ValueError(
            f"The job {run_name} has no record of its output folder: it was not submitted by "
            "`scpo submit`. Copy its files by hand."
        )
    left_out = [name for name in LEFT_OUT if not (with_models and name == "models")]
    if is_remote(source):
        return source, copy_remote(source, to, left_out, run_name)
    log = _pack_on_cluster(address, run_name, source, left_out)
    return source, unpack(log, source, to, run_name)


def copy_remote(source: str, to: Path, left_out: Sequence[str], run_name: str) -> int:
    """Copy the files of an s3:// or gs:// folder to a local one; return their number.

    Raises:
        FileNotFoundError: The folder holds nothing to copy.
        OSError: The storage refuses or does not answer.
    """
    remote = RemoteFolder(source)
    names = [name for name in remote.names() if not is_left_out(PurePath(name), left_out)]
    if not names:
        raise FileNotFoundError(_no_outputs(source, run_name))
    for name in names:
        remote.get(name, to / name)
    return len(names)


def unpack(log: str, source: str, to: Path, run_name: str) -> int:
    """Write the files that a packing job has printed among other lines; return their number.

    Raises:
        FileNotFoundError: The folder does not exist there or holds nothing to copy.
        RuntimeError: It is too large, the log is not complete, or a file would lie outside of
            the folder.
    """
    lines = [
        line[len(ARCHIVE_PREFIX) :] for line in log.splitlines() if line.startswith(ARCHIVE_PREFIX)
    ]
    header = _header_of(lines, source)
    if "missing" in header or header.get("num_files") == 0:
        raise FileNotFoundError(_no_outputs(source, run_name))
    if "too_large" in header:
        raise RuntimeError(
            f"A job can return at most {MAX_BYTES >> 20} MiB, packed, but {source} has "
            f"{header['size'] >> 20} MiB. Fetch without --models, or copy the folder with rsync, "
            "kubectl cp or ray rsync-down."
        )
    content = _decode(lines[1:])
    if hashlib.sha256(content).hexdigest() != header.get("sha256"):
        raise RuntimeError(
            f"The files of {source} arrived damaged: {len(content)} of "
            f"{header.get('size', 'unknown')} bytes. Fetch again."
        )
    to.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            tar.extractall(to, filter="data")
    except tarfile.TarError as error:
        raise RuntimeError(f"The archive of {source} is not unpacked: {error}.") from error
    return int(header["num_files"])


def _header_of(lines: list[str], source: str) -> dict[str, Any]:
    try:
        header = dict(load_json(lines[0])) if lines else {}
        if "too_large" in header:
            header["size"] = int(header["size"])
    except (ValueError, TypeError, KeyError) as error:
        raise RuntimeError(f"The archive of {source} did not arrive whole. Try again.") from error
    return header


def _decode(lines: list[str]) -> bytes:
    """Return the bytes of lines; of other lines none, whose checksum is another."""
    try:
        return b"".join(map(base64.b64decode, lines))
    except ValueError:
        return b""


def _pack_on_cluster(
    address: str | None, run_name: str, source: str, left_out: Sequence[str]
) -> str:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(__file__).with_name("packing.py"), folder)
        packing = Submission(
            submission_id=f"{run_name}-fetch-{uuid4().hex[:8]}",
            entrypoint=("python", "packing.py", source, str(MAX_BYTES), *left_out),
            working_dir=Path(folder),
            excludes=(),
            metadata={FETCHED_RUN: run_name},
        )
        submit_job(packing, address=address)
    name = packing.submission_id
    deadline_s = time.monotonic() + _PACKING_LIMIT_S
    while not (job := job_status(address, name)).status.is_terminal():
        if time.monotonic() > deadline_s:
            raise RuntimeError(
                f"The job {name} must pack {source} within {_PACKING_LIMIT_S:.0f} s, but it is "
                f"still {job.status}. Check it with `scpo status {name}`, then `scpo stop {name}`."
            )
        time.sleep(_POLL_INTERVAL_S)
    if job.status != "SUCCEEDED":
        raise RuntimeError(f"The job {name} failed to pack {source}: {job.message}")
    return job_log(address, name)


def _no_outputs(source: str, run_name: str) -> str:
    return (
        f"The run has written nothing to {source} yet. Wait until it has started, or read its "
        f"log with `scpo logs {run_name}`."
    )
