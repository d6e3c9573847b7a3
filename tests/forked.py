"""Processes that are forked from one that has imported torch, DeepSpeed and Ray already.

To import them takes seconds, more than most of what these processes do. Each has its own working
folder, environment and process group, and is killed as any other. Ray reads RAY_AUTH_MODE when it
is imported, so it is "disabled" in all of them.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch

import sweeps.stages.whole_sweep  # noqa: F401 - what the commands would import themselves, one after another
from scpo.__main__ import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class Forked:
    """A call of a function of some module in a process of its own, whose output goes to files."""

    def __init__(
        self,
        call: Callable[..., None],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        out: Path = Path(os.devnull),
        err: Path = Path(os.devnull),
    ) -> None:
        given = dict(os.environ if environment is None else environment)
        self.process = _CONTEXT.Process(
            target=_run, args=(call, arguments, Path.cwd(), given, out, err)
        )
        self.process.start()

    def ended(self) -> bool:
        return self.process.exitcode is not None

    def wait(self, timeout: float) -> int:
        """Return the exit code; a process that does not end is killed, and TimeoutError raised."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill()
            raise TimeoutError(f"no end within {timeout} s")
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it, and what it started, by SIGKILL."""
        assert self.process.pid is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not self.ended():
            with suppress(ProcessLookupError):  # it has no group of its own yet
                os.killpg(self.process.pid, SIGKILL)
            self.process.join(0.02)


def start_scpo(*arguments: object, **files: Path) -> Forked:
    """Start `scpo ARGUMENTS`."""
    return Forked(_command, [str(argument) for argument in arguments], **files)


def run_scpo(*arguments: object, timeout: float = 900.0) -> "subprocess.CompletedProcess[str]":
    """Run `scpo ARGUMENTS` to its end and return its exit code and what it printed."""
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        code = start_scpo(*arguments, out=out, err=err).wait(timeout)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _command(words: list[str]) -> None:
    sys.argv = ["scpo", *words]
    main()


def _run(
    call: Callable[..., None],
    arguments: tuple[Any, ...],
    folder: Path,
    environment: dict[str, str],
    out: Path,
    err: Path,
) -> None:
    """Make the call, in the forked process."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # as when Ray was imported here
    for number, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    torch.set_num_threads(1)  # as in the tests: the bits depend on it
    try:
        call(*arguments)
    finally:
        ray.shutdown()  # a forked process ends without what Ray left for the end
