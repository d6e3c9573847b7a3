"""Fuzz one reader with atheris: inputs that reach new code are kept and changed further.

A process of its own, since atheris instruments modules as they are imported:

    python -m tests.faults.hostile.guided_fuzz RUN FOLDER SECONDS READER

FOLDER is empty and gets the inputs. Prints {"inputs": N, "faults": [...]}. Hypothesis turns what
atheris proposes into the reader's inputs.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, settings

with atheris.instrument_imports(include=["scpo", "sweeps", "cluster"]):
    from tests.faults.hostile.data_readers import data_readers
    from tests.faults.hostile.other_readers import other_readers
    from tests.faults.hostile.refusals import Reader, distinct, fault_of, shorten_input
    from tests.faults.hostile.run_readers import run_readers

# libFuzzer reports and ends at an input that takes longer, or at this much memory: `fault_of` has
# the tighter bounds.
LATE_S, MOST_MB = 60, 8192


def _reader_named(name: str, run: Path, made: Path) -> Reader:
    for make in (data_readers, lambda: run_readers(run, made), lambda: other_readers(made)):
        for reader in make():
            if reader.name == name:
                return reader
    raise SystemExit(f"No reader is named {name!r}")


def fuzz_guided(reader: Reader, folder: Path, seconds: float) -> None:
    """Fuzz a reader for so long, print what was found, and end the process."""
    faults: list[str] = []
    times, ends = 0, time.monotonic() + seconds

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=reader.inputs)
    def one(content: bytes) -> None:
        nonlocal times
        times += 1
        shutil.rmtree(folder, ignore_errors=True)
        if fault := fault_of(reader, content, folder):
            faults.append(f"{fault} | {shorten_input(content)}")

    def proposed(buffer: bytes) -> None:
        one.hypothesis.fuzz_one_input(buffer)  # type: ignore[attr-defined]
        if time.monotonic() > ends:
            print(json.dumps({"inputs": times, "faults": distinct(faults)[:8]}), flush=True)
            os._exit(0)  # atheris has no way back from its loop

    corpus = folder.with_name("corpus")
    corpus.mkdir()
    bounds = [f"-timeout={LATE_S}", f"-rss_limit_mb={MOST_MB}", "-max_len=8192", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *bounds, str(corpus)], proposed)
    atheris.Fuzz()


if __name__ == "__main__":
    run, folder, seconds, name = (
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        float(sys.argv[3]),
        sys.argv[4],
    )
    (folder / "made").mkdir()
    fuzz_guided(_reader_named(name, run, folder / "made"), folder / "in", seconds)
