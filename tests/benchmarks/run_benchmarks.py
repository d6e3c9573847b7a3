"""Runs every benchmark, each in a process of its own, and passes on one JSON line a figure.

Names on the command line pick some of them. The exit status is 1 when a benchmark fails or a
figure misses its `reach`; the lines that missed are named on standard error.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from figures import is_reached

FOLDER = Path(__file__).parent


def run(benchmark: Path) -> list[str]:
    """Return the lines of one benchmark.

    Raises:
        RuntimeError: It failed; its standard error went to this process's.
    """
    done = subprocess.run([sys.executable, str(benchmark)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{benchmark.name} must exit with 0, but got {done.returncode}.")
    return [line for line in done.stdout.splitlines() if line.startswith('{"figure"')]


def main() -> None:
    """Run the benchmarks, print their lines, and exit with 1 when one missed."""
    benchmarks = {path.stem.removeprefix("bench_"): path for path in FOLDER.glob("bench_*.py")}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(sorted(benchmarks))}")
    names = parser.parse_args().names or sorted(benchmarks)
    unknown = sorted(set(names) - set(benchmarks))
    if unknown:
        parser.error(f"names must be of {', '.join(sorted(benchmarks))}, but got {unknown}")
    missed = []
    for name in names:
        for line in run(benchmarks[name]):
            print(line, flush=True)
            figure = json.loads(line)
            if not is_reached(figure["value"], figure["reach"]):
                missed.append(f"{figure['figure']}: {figure['value']}, not {figure['reach']}")
    for text in missed:
        print(text, file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
