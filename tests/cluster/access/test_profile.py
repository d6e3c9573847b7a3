"""Settings of a profile: found, read from where they stand, and checked."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.access.profile import SHIPPED, find_profile, load_profile

SETTINGS = {"address": "http://h:1", "storage": "/mnt/runs/", "start": "begin", "end": "stop"}


def write(path: Path, settings: dict[str, Any]) -> str:
    path.write_text(json.dumps({"metadata": {"scpo": settings}}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_can_be_submitted_to(name: str) -> None:
    profile = load_profile(name)
    assert profile.address == "http://127.0.0.1:8265"  # through a tunnel, never a public address
    assert bool(profile.tunnel) == (name != "local")
    assert profile.start in profile.advice()
    assert find_profile(name).name == f"{name}.yaml"


def test_a_profile_without_a_tunnel_says_how_to_start_the_cluster(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path / "mine.yaml", SETTINGS))
    assert profile.advice() == "Start the cluster with: begin"


def test_settings_of_a_later_document_as_an_annotation(tmp_path: Path) -> None:
    annotated = {"metadata": {"annotations": {"scpo/submit": json.dumps(SETTINGS)}}}
    path = tmp_path / "mine.yaml"
    path.write_text("kind: Service\n---\n" + json.dumps(annotated), encoding="utf-8")
    assert load_profile(str(path)).address == "http://h:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"address": "h:1"}, "address"),
        ({"address": "http://h:1/"}, "address"),
        ({"token": "x"}, "token: Extra inputs"),
        ({"entrypoint_num_gpus": -1}, "entrypoint_num_gpus"),
        ({"storage": "runs"}, "storage must be an absolute path"),
        ({"storage": None}, "storage"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "mine.yaml", SETTINGS | change)
    with pytest.raises(ValueError, match=f"mine.yaml: .*{message}"):
        load_profile(path)


@pytest.mark.parametrize("name", ["slurm", "skypilot.yaml", "kuberay-rayjob"])
def test_files_that_run_one_sweep_are_not_submitted_to(name: str) -> None:
    with pytest.raises(ValueError, match=r"must have settings.*See the first lines"):
        load_profile(name)


def test_unknown_profile_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"one of local, .* but got 'mars'.*Copy one"):
        load_profile("mars")
