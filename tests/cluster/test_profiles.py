"""The RayJob file is one that KubeRay accepts, with our Ray version and without secrets."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from cluster.submission import plan_submission

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "profiles" / "kuberay-rayjob.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def cluster(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["rayClusterSpec"]


@pytest.fixture(scope="module")
def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_kind_and_required_fields(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,45}[a-z0-9])?", job["metadata"]["name"])
    assert spec["submissionMode"] == "K8sJobMode"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["backoffLimit"] >= 1


def test_fields_that_exclude_each_other(job: dict[str, Any]) -> None:
    spec = job["spec"]
    # deletionStrategy or shutdownAfterJobFinishes; clusterSelector or rayClusterSpec.
    assert not {"deletionStrategy", "clusterSelector", "suspend"} & spec.keys()
    # The token by which Kubernetes itself authenticates is not for RayJobs.
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_entrypoint_is_what_submit_would_send(job: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "sweeps" / "configs" / "prism.yaml"
    config.parent.mkdir(parents=True)
    config.touch()
    planned = plan_submission(config, out="/mnt/scpo/runs/prism", root=tmp_path)
    assert tuple(shlex.split(job["spec"]["entrypoint"])) == planned.entrypoint


def test_ray_version_is_the_one_of_pyproject(
    cluster: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(line) for line in project["dependencies"]]
    ray = next(requirement for requirement in requirements if requirement.name == "ray")
    assert ray.specifier.contains(cluster["rayVersion"])
    assert f"rayproject/ray:{cluster['rayVersion']}-py311-gpu" in TEXT
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 1
    assert images.pop().endswith(f":ray-{cluster['rayVersion']}")


def test_head_runs_no_trials_and_workers_have_gpus(cluster: dict[str, Any]) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["nvidia.com/gpu"]) >= 1


def test_all_pods_share_the_storage_of_out(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        (container,) = pod["containers"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert claims[mounts["/mnt/scpo"]] == "scpo"
        assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
        assert container["workingDir"] == "/home/ray/scpo"
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_secrets_come_from_kubernetes(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
        assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "scpo-huggingface"
        for name, entry in variables.items():
            if re.search("TOKEN|SECRET|KEY|PASSWORD", name):
                assert "value" not in entry
    assert not re.search(r"hf_\w{8,}|[0-9a-fA-F]{32,}", TEXT)
    assert "runtimeEnvYAML" not in TEXT
