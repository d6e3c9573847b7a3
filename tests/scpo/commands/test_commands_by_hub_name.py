"""Every command that takes a model or a data set by its hub name, through the real clients."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from scpo.__main__ import main
from scpo.models.model_source import find_model
from sweeps.ledger.records import read_records
from tests.cluster.jobs.heads import cluster_folder, free_port, running_head
from tests.forked import Forked
from tests.hub.answers import READER_TOKEN
from tests.hub.fixtures import hub_environment, patch_clients
from tests.hub.models import DEBERTA, GATED, LLAMA
from tests.hub.server import Fault, HubServer

CONFIGS = Path(__file__).parents[3] / "sweeps" / "configs"
PRISM_CONFIG = CONFIGS / "prism.yaml"
FEW_TOKENS = ("--max-tokens", "64")
SMALL = (
    "countries=[Chile, Mexico]",
    "search={num_trials: 1, epochs: [0.2, 0.4]}",
    "curves={arms: []}",
    "lanes={cpus: 1, num_lanes: 1}",
    "encoder.max_tokens=64",
    "training={epochs: 0.3, precision: fp32}",
)


@dataclass(frozen=True)
class Road:
    """A folder in which commands run, and the hub that their clients know."""

    hub: HubServer
    home: Path  # HF_HOME

    def run(self, *arguments: str | Path, refused: bool = False) -> str:
        """Run a command in this process and return what it printed."""
        printed = StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
            patch.setattr("sys.argv", ["scpo", *map(str, arguments)])
            with redirect_stderr(printed), pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code == (2 if refused else 0), printed.getvalue()
        return printed.getvalue()

    def sweep(self, command: str, out: str, *settings: str) -> str:
        """Run a command on the configuration of PRISM with small numbers."""
        words = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
        return self.run(command, PRISM_CONFIG, "--out", out, *words)

    def asked(self, part: str) -> list[str]:
        """Return the paths of the requests that hold a text."""
        return [request.path for request in self.hub.log if part in request.path]


@pytest.fixture(scope="module")
def road(hub_repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder = tmp_path_factory.mktemp("road")
    root = shutil.copytree(hub_repositories, folder / "hub")
    with pytest.MonkeyPatch.context() as patch, HubServer(root) as hub:
        patch_clients(patch, hub.url, folder / "hf-home")
        patch.delenv("RAY_ADDRESS", raising=False)
        (folder / "work").mkdir()
        patch.chdir(folder / "work")
        yield Road(hub, folder / "hf-home")


@pytest.fixture(scope="module")
def prepared(road: Road) -> Road:
    """The road with PRISM of the hub in the folder "data"."""
    said = road.run("prepare", "prism", "--out", "data")
    assert "Chile" in said
    return road


def test_one_process_scores_trains_and_judges_by_name(prepared: Road) -> None:
    by_name = ("--data", "data", "--global-model", DEBERTA, *FEW_TOKENS)
    one = ("--countries", "Chile")
    assert "120 texts scored" in prepared.run("score", *by_name, *one)
    assert "0 texts scored, 120 from" in prepared.run("score", *by_name, *one)
    older = [DEBERTA + "@v1" if word == DEBERTA else word for word in by_name]
    assert "120 texts scored" in prepared.run("score", *older, *one)
    train = ("train", *by_name, "--country", "Chile", "--set", "epochs=0.2")
    assert "Written: chile" in prepared.run(*train, "--out", "chile")
    said = prepared.run("evaluate", *by_name, "--model", "Chile=chile", "--out", "judged")
    assert "Written: judged" in said
    models = json.loads(Path("judged/evaluation.json").read_text())["models"]
    assert models["global"]["model"] == DEBERTA


def test_plan_probe_and_doctor_take_the_configuration_of_prism(
    prepared: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.doctor.doctor.HANG_S", 120.0)  # other tests run beside this one
    assert "Chile" in prepared.sweep("plan", "planned")
    assert "Written: probed/probe.csv" in prepared.sweep("probe", "probed", "cache=probe-cache")
    words = [word for setting in SMALL for word in ("--set", setting)]
    said = prepared.run("doctor", PRISM_CONFIG, *words)
    assert "lane" in said


def test_opinions_of_the_hub_are_read_and_answered(road: Road) -> None:
    road.run("prepare", "opinions", "--out", "opinions")
    names = ("--model", f"global={DEBERTA}", "--model", f"Chile={DEBERTA}@v1")
    said = road.run("opinions", *names, "--min-questions", "2", "--out", "answered", *FEW_TOKENS)
    assert "Written: answered/opinions.csv" in said
    assert pq.read_table("answered/opinions.parquet").num_rows > 0


def test_a_model_whose_weights_are_large_costs_doctor_its_configuration_only(road: Road) -> None:
    road.hub.log.clear()
    words = [word for setting in SMALL for word in ("--set", setting)]
    road.run("doctor", PRISM_CONFIG, *words, "--set", f"global_model={{name: {LLAMA}}}")
    assert road.asked(f"{LLAMA}/resolve")
    assert not [path for path in road.asked(LLAMA) if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (GATED, rf"{GATED} is gated\. Accept its terms at .*{GATED}.*HF_TOKEN"),
        ("OpenAssistant/no-such-model", "no model of that name at .*spelling.*HF_TOKEN"),
        (f"{DEBERTA}@v9", f"{DEBERTA} has no revision 'v9' on the hub. Give a branch, tag or"),
        (f"{DEBERTA}@", "a revision must follow the @"),
        ("no spaces/in names", r"is no name of a model on the hub \(OWNER/NAME\)"),
        ("deberta", "No model folder at deberta. Give a folder or a hub name"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_one_line(
    prepared: Road, model: str, match: str
) -> None:
    said = prepared.run("score", "--data", "data", "--global-model", model, refused=True)
    assert re.search(match, said), said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("model.safetensors", "GET", after_bytes=1000, reset=True),
        Fault("model.safetensors", "GET", after_bytes=1000, stop=True),
        Fault("/api/models", times=None, status=500),
    ],
)
def test_a_hub_that_fails_under_a_command_is_one_line(
    prepared: Road, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Fault
) -> None:
    patch_clients(monkeypatch, prepared.hub.url, tmp_path)  # nothing is cached
    prepared.hub.faults[:] = [fault]
    try:
        by_name = ("--data", "data", "--global-model", DEBERTA)
        said = prepared.run("score", *by_name, refused=True).splitlines()[-1]
    finally:
        prepared.hub.faults.clear()
        if fault.stop:
            prepared.hub.start()
    assert said.startswith(f"scpo: The model {DEBERTA}")
    assert "could not be fetched from" in said
    assert "Try again: files that arrived whole are kept." in said


def test_a_token_opens_a_gated_model(prepared: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER_TOKEN)
    gated = ("--global-model", GATED, "--countries", "Chile", *FEW_TOKENS)
    said = prepared.run("score", "--data", "data", *gated)
    assert "120 texts scored" in said
    assert READER_TOKEN not in said


def sweep_on_a_node_of_its_own(road_url: str, home: Path, folder: Path, *further: str) -> None:
    """Sweep prism.yaml on a cluster of one node, whose cache of the hub is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with patch.context() as node:
            for name, value in hub_environment(road_url, folder / "node").items():
                node.setenv(name, value)
            cluster = Cluster()
            cluster.add_node(num_cpus=2, object_store_memory=80_000_000, include_dashboard=False)
        patch_clients(patch, road_url, home)
        patch.setenv("RAY_ADDRESS", cluster.address)
        settings = (
            *SMALL,
            f"global_model={{name: {DEBERTA}, revision: older}}",
            f"cache={folder / 'cache'}",
            *further,
        )
        words = [word for setting in settings for word in ("--set", setting)]
        run = str(folder / "run")
        patch.setattr("sys.argv", ["scpo", "sweep", str(PRISM_CONFIG), "--out", run, *words])
        try:
            main()
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_texts", "settings"),
    [
        (120, ("countries=[Chile]", "final={arms: []}")),
        pytest.param(
            240,
            ("final={arms: [full], lanes: {workers: 2}}",),
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["lanes", "lanes and workers"],
)
def test_a_node_that_shares_nothing_loads_the_very_commit(
    prepared: Road, tmp_path: Path, num_texts: int, settings: tuple[str, ...]
) -> None:
    """Scoring, lanes and a sharded final load the model by name, each on the other node."""
    out, err = tmp_path / "out", tmp_path / "err"
    given = (prepared.hub.url, prepared.home, tmp_path, *settings)
    driver = Forked(sweep_on_a_node_of_its_own, *given, out=out, err=err)
    assert driver.wait(timeout=900) == 0, out.read_text()[-2000:] + err.read_text()[-2000:]
    assert f"{num_texts} scored, 0 from the cache" in out.read_text()
    assert (tmp_path / "run/models/chile" / "model.safetensors").is_file()
    commit = find_model(f"{DEBERTA}@v1").commit
    assert [path.name for path in tmp_path.glob("node/hub/*/snapshots/*")] == [commit]
    pinned = json.loads((tmp_path / "run/global_model.json").read_text())
    assert pinned["source"] == {"name": DEBERTA, "commit": commit, "base": None}
    lines = (tmp_path / "run/trials.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["state"] for record in records} == {"complete"}


@pytest.mark.exhaustive
def test_scoring_and_training_on_workers_by_name(prepared: Road) -> None:
    by_name = ("--data", "data", "--global-model", DEBERTA, *FEW_TOKENS, "--cache", "far")
    exact = ("--set", "precision=fp32", "--set", "epochs=0.2")
    try:
        said = prepared.run("score", *by_name, "--countries", "Chile", "--workers", "0")
        assert "120 texts scored" in said
        for stage in ("2", "3"):
            sharded = ("--workers", "2", "--zero-stage", stage, "--out", f"zero{stage}")
            prepared.run("train", *by_name, "--country", "Chile", *exact, *sharded)
            assert Path(f"zero{stage}/model.safetensors").is_file()
    finally:
        ray.shutdown()


def submit(config: Path, out: Path, *settings: str, cpus: int) -> None:
    """Submit a sweep to a cluster of its own, and wait for its end."""
    shutil.copy(config, "sweep.yaml")
    words = [word for setting in settings for word in ("--set", setting)]
    with (
        cluster_folder() as folder,
        running_head(folder, free_port(), options=(f"--num-cpus={cpus}",)) as head,
    ):
        command = [sys.executable, "-m", "scpo", "submit", "sweep.yaml", "--address", head.address]
        sent = subprocess.run(
            [*command, *words, "--out", str(out)],
            env=head.environment | {"RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
        )
    assert sent.returncode == 0, sent.stdout[-2000:] + sent.stderr[-2000:]


@pytest.mark.exhaustive
def test_a_submitted_job_loads_by_name_in_its_copy_of_the_folder(
    prepared: Road, tmp_path: Path
) -> None:
    """A folder of the model's name in the working directory must not stand in its way."""
    Path(DEBERTA).parent.mkdir(exist_ok=True)
    out = tmp_path / "submitted"
    submit(PRISM_CONFIG, out, *SMALL, "final={arms: [full]}", cpus=2)
    pinned = json.loads((out / "global_model.json").read_text())
    assert pinned["source"]["commit"] == find_model(DEBERTA).commit
    assert (out / "models" / "mexico" / "model.safetensors").is_file()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "trained"), [("tulu-8b", "adapters"), ("tulu-8b-full", "all")])
def test_the_large_model_goes_from_the_hub_to_the_page_in_sharded_lanes(
    prepared: Road, tmp_path: Path, name: str, trained: str
) -> None:
    out = tmp_path / "large"
    small = (
        "countries=[Chile, Mexico]",
        "encoder.max_tokens=64",
        "training.precision=fp32",
        "search.num_trials=2",
        "search.rungs=[8]",
        "search.min_effective_pairs=1",
        "curves.budgets=[0.5, 1.0]",
        "lanes={workers: 2, zero_stage: 3, num_lanes: 2}",
    )
    stages = ("final.lanes={workers: 4, zero_stage: 3}", "curves.lanes=null")
    submit(
        CONFIGS / f"{name}.yaml", out, *small, *(stages if trained == "adapters" else ()), cpus=4
    )
    records = read_records(out)
    assert {record.error for record in records} == {None}
    by_purpose = {
        purpose: [record for record in records if record.purpose == purpose and record.devices > 1]
        for purpose in ("search", "rung", "curve", "final")
    }
    assert all(by_purpose.values())
    wide = 4 if trained == "adapters" else 2
    assert {record.engine for record in by_purpose["search"]} == {"deepspeed-zero3-x2"}
    assert {record.engine for record in by_purpose["final"]} == {f"deepspeed-zero3-x{wide}"}
    assert {record.config["lora_rank"] is None for record in by_purpose["search"]} == {
        trained == "all"
    }
    assert {record.config["lora_rank"] for record in by_purpose["final"]} == {None}
    for file in ("leaderboard.csv", "curves.csv", "report.html"):
        assert (out / file).is_file()
    assert find_model(out / "models" / "chile").folder().is_dir()
