"""The KubeRay files are ones that KubeRay accepts, with our Ray version and without secrets."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from cluster.jobs.submission import plan_submission

ROOT = Path(__file__).parents[3]
PROFILES = ROOT / "cluster" / "profiles"
TEXT = (PROFILES / "kuberay-rayjob.yaml").read_text(encoding="utf-8")
STANDING = (PROFILES / "kuberay-raycluster.yaml").read_text(encoding="utf-8")

# Fields of ray.io/v1 in KubeRay 1.7, as far as these files may use them.
CLUSTER_FIELDS = {
    "rayVersion": str,
    "authOptions": {"mode": str, "secretName": str},
    "gcsFaultToleranceOptions": {
        "redisAddress": str,
        "redisUsername": dict,
        "redisPassword": {"value": str, "valueFrom": dict},
        "externalStorageNamespace": str,
    },
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {"version": str, "idleTimeoutSeconds": int, "upscalingMode": str},
    "headGroupSpec": {"serviceType": str, "rayStartParams": dict, "template": {"spec": dict}},
    "workerGroupSpecs": [
        {
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "numOfHosts": int,
            "idleTimeoutSeconds": int,
            "rayStartParams": dict,
            "template": {"spec": dict},
        }
    ],
}
JOB_FIELDS = {
    "entrypoint": str,
    "submissionMode": str,
    "backoffLimit": int,
    "activeDeadlineSeconds": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "rayClusterSpec": CLUSTER_FIELDS,
}


def unknown_fields(value: Any, known: Any, path: str = "") -> list[str]:
    """Return the paths at which a value has a field, or a type, that is not known."""
    if isinstance(known, type):
        return [] if type(value) is known else [f"{path}: {type(value).__name__}"]
    if isinstance(known, list):
        return [p for n, item in enumerate(value) for p in unknown_fields(item, known[0], path)]
    found = [f"{path}.{name}" for name in value if name not in known]
    for name in value.keys() & known.keys():
        found += unknown_fields(value[name], known[name], f"{path}.{name}")
    return found


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    """The standing cluster's objects by kind and name."""
    return {
        f"{document['kind']}/{document['metadata']['name']}": document
        for document in yaml.safe_load_all(STANDING)
    }


@pytest.fixture(scope="module", params=["job", "standing"])
def cluster(
    request: pytest.FixtureRequest, job: dict[str, Any], documents: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    if request.param == "job":
        return job["spec"]["rayClusterSpec"]
    return documents["RayCluster/scpo"]["spec"]


@pytest.fixture(scope="module")
def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_only_fields_that_kuberay_reads(
    job: dict[str, Any], documents: dict[str, dict[str, Any]]
) -> None:
    assert unknown_fields(job["spec"], JOB_FIELDS) == []
    assert unknown_fields(documents["RayCluster/scpo"]["spec"], CLUSTER_FIELDS) == []
    misspelt = {"rayVersion": 2.6, "workerGroupSpecs": [{"minReplica": 1}]}
    found = [".rayVersion: float", ".workerGroupSpecs.minReplica"]
    assert sorted(unknown_fields(misspelt, CLUSTER_FIELDS)) == found


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


def test_entrypoint_is_what_submit_would_send(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "sweeps" / "configs" / "prism.yaml"
    config.parent.mkdir(parents=True)
    config.touch()
    planned = plan_submission(config, out="/mnt/scpo/runs/prism")
    assert tuple(shlex.split(job["spec"]["entrypoint"])) == planned.entrypoint
    spec = job["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["template"]["spec"]["containers"][0]["workingDir"] == "/home/ray/scpo"


def test_ray_version_is_the_one_of_pyproject(
    cluster: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(line) for line in project["dependencies"]]
    ray = next(requirement for requirement in requirements if requirement.name == "ray")
    assert ray.specifier.contains(cluster["rayVersion"])
    for text in (TEXT, STANDING):
        assert f"rayproject/ray:{cluster['rayVersion']}-py311-gpu" in text
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 1
    assert images.pop().endswith(f":ray-{cluster['rayVersion']}")


def test_head_runs_no_trials_and_workers_have_gpus(cluster: dict[str, Any]) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
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
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_secrets_come_from_kubernetes(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
        assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "scpo-huggingface"
        for name, entry in variables.items():
            if re.search("TOKEN|SECRET|KEY|PASSWORD", name):
                assert "value" not in entry
    for text in (TEXT, STANDING):
        assert not re.search(r"hf_\w{8,}|[0-9a-fA-F]{32,}", text)
        assert "runtimeEnvYAML" not in text


def test_standing_cluster_has_its_token_and_its_memory(
    documents: dict[str, dict[str, Any]],
) -> None:
    spec = documents["RayCluster/scpo"]["spec"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "scpo-ray-token"}
    assert "secret generic scpo-ray-token --from-file=auth_token=" in STANDING  # the key it reads
    options = spec["gcsFaultToleranceOptions"]
    service = documents["Service/scpo-redis"]["spec"]
    assert options["redisAddress"] == f"scpo-redis:{service['ports'][0]['port']}"
    redis = documents["StatefulSet/scpo-redis"]["spec"]["template"]
    assert service["selector"].items() <= redis["metadata"]["labels"].items()
    (container,) = redis["spec"]["containers"]
    (password,) = container["env"]
    secret = {"secretKeyRef": {"name": "scpo-redis", "key": "password"}}
    assert password["valueFrom"] == options["redisPassword"]["valueFrom"] == secret
    assert "$PASSWORD" in container["args"][0]
    assert "appendonly yes" in container["args"][0]
    volume = redis["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert f"PersistentVolumeClaim/{volume}" in documents


def test_only_the_cluster_itself_reaches_ray_and_redis(
    documents: dict[str, dict[str, Any]],
) -> None:
    own = {"podSelector": {"matchLabels": {"ray.io/cluster": "scpo"}}}
    ray = documents["NetworkPolicy/scpo-ray"]["spec"]
    redis = documents["NetworkPolicy/scpo-redis"]["spec"]
    assert ray["podSelector"] == own["podSelector"]
    assert ray["policyTypes"] == redis["policyTypes"] == ["Ingress"]
    assert ray["ingress"][0] == {"from": [own]}
    assert ray["ingress"][1]["ports"] == [{"port": 8265}]  # the operator, and no other
    assert len(ray["ingress"]) == 2
    assert redis["ingress"] == [{"from": [own], "ports": [{"port": 6379}]}]
    head = documents["RayCluster/scpo"]["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
