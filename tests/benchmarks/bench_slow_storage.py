"""A sweep into a slow folder, and into a slow bucket, against one into a fast folder.

MiniLM in float32, two synthetic countries, two lanes of one thread: the whole command, from its
start to its last line. In the slow folder each call that a network file system answers over the
network takes 20 ms more (`slow_folder.cpp`, preloaded into the sweep and its lanes); the bucket is
an S3 server on loopback, every answer of which takes 200 ms more. The accuracies must be the same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import yaml
from figures import figure_line, machine
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow.fs import FileSystem
from werkzeug.serving import WSGIRequestHandler, make_server
from workload import load_minilm, save_model

from sweeps.ledger.records import read_records
from sweeps.run.mirror import working_folder

SLOW_MS = 20
BUCKET_S = 0.2
COUNTRIES = ["Arvandia", "Belmora"]


def write_config(folder: Path, num_trials: int, epochs: float) -> Path:
    """Write a sweep of trials that are all about as long."""
    save_model(load_minilm(), folder / "model")
    world = {"num_countries": 2, "users_per_country": 24, "interactions_per_user": 3}
    search = {"num_trials": num_trials, "folds": 1, "sampler": "random"}
    config = {
        "name": "storage",
        "countries": COUNTRIES,
        "data": {"source": "synthetic", "synthetic": world},
        "global_model": {"name": str(folder / "model")},
        "encoder": {"max_tokens": 128},
        "training": {"pairs_per_step": 24, "precision": "fp32"},
        "search": search | {"epochs": [epochs, epochs + 1e-6]},
        "lanes": {"num_lanes": 2, "cpus": 1.0},
        "curves": {"arms": [], "budgets": [1.0]},
        "final": {"arms": ["full"]},
    }
    path = folder / "storage.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def slow_bucket(wait_s: float) -> Iterator[str]:
    """Serve a bucket on loopback, set this process's environment to it, and yield its URI."""
    store = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Any) -> Any:
        time.sleep(wait_s)
        return store(environ, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Silent)
    Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    FileSystem.from_uri("s3://?allow_bucket_creation=true")[0].create_dir("runs")
    yield "s3://runs"
    server.shutdown()


def sweep_s(config: Path, run: Path | str, env: Mapping[str, str] | None = None) -> float:
    """Return the seconds of a whole `scpo sweep`."""
    command = [sys.executable, "-m", "scpo", "sweep", str(config), "--out", str(run)]
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return time.perf_counter() - began


def objectives(run: Path | str) -> dict[str, dict[str, float]]:
    """Return what each trial of the search reached."""
    with working_folder(str(run)) as (folder, _):
        found = read_records(folder)
    return {
        record.trial_id: dict(record.objectives) for record in found if record.purpose == "search"
    }


def main() -> None:
    """Measure and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12, help="of each country")
    parser.add_argument("--epochs", type=float, default=0.5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, slow_bucket(BUCKET_S) as bucket:
        folder = Path(temporary).resolve()
        os.environ |= {"SCPO_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        shim = folder / "slow_folder.so"
        source = Path(__file__).with_name("slow_folder.cpp")
        subprocess.run(["c++", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
        config = write_config(folder, given.trials, given.epochs)
        slow = {
            "LD_PRELOAD": str(shim),
            "SLOW_FOLDER": str(folder / "slow"),
            "SLOW_MS": str(SLOW_MS),
        }
        sweep_s(config, folder / "warm")  # which fills the caches of texts and rewards
        fast_s = sweep_s(config, folder / "fast")
        expected = objectives(folder / "fast")
        for name, run, env in (
            (f"folder of {SLOW_MS} ms a call", folder / "slow", slow),
            (f"bucket of {BUCKET_S * 1000:.0f} ms a request", f"{bucket}/run", None),
        ):
            took_s = sweep_s(config, run, env)
            if objectives(run) != expected:
                raise RuntimeError(f"The sweep into a {name} must find what the fast one finds.")
            line = figure_line(
                f"a sweep into a {name}",
                took_s / fast_s,
                "x",
                reach="<= 1.33",
                against="the same sweep into a fast folder",
                on=machine("fp32"),
                detail={"took_s": took_s, "fast_s": fast_s, "trials": 2 * given.trials},
            )
            print(line, flush=True)


if __name__ == "__main__":
    main()
