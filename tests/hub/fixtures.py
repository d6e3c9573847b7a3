"""The hub's fixtures: a test file takes those that it needs with `from tests.hub.fixtures import`.

hub         a hub of the test's own in a thread, with the stand-ins; faults and log
hub_process the address of one in its own process
hub_env     environment of subprocesses that talk to `hub`: HF_ENDPOINT, an empty HF_HOME
hub_here    the same for this process: patches what the clients read at import
"""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.hub.data_sets import publish_data_sets
from tests.hub.impatient import RETRYING, NoWait
from tests.hub.models import publish_models
from tests.hub.server import HubServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def hub_repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all stand-ins; do not write to it."""
    root = tmp_path_factory.mktemp("hub")
    publish_models(root / "repositories", root / "work")
    publish_data_sets(root / "repositories")
    return root / "repositories"


@pytest.fixture
def hub(hub_repositories: Path, tmp_path: Path) -> Iterator[HubServer]:
    """A hub in a thread, on a copy of the stand-ins."""
    root = shutil.copytree(hub_repositories, tmp_path / "hub")
    with HubServer(root) as server:
        yield server


@pytest.fixture
def hub_process(hub_repositories: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a hub in a process of its own, on a copy of the stand-ins."""
    root = shutil.copytree(hub_repositories, tmp_path / "hub")
    command = [sys.executable, "-m", "tests.hub.server", str(root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture
def hub_env(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a subprocess that knows this hub only; add to a copy of it."""
    return hub_environment(hub.url, tmp_path / "hf-home")


@pytest.fixture
def hub_here(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub, and the clients of this process (and of those that it starts) talk to it."""
    patch_clients(monkeypatch, hub.url, tmp_path / "hf-home")
    return hub


def hub_environment(url: str, home: Path) -> dict[str, str]:
    """Return this process's environment with a hub and an empty cache, and without a token.

    Two homes are two nodes that share nothing.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_"))
        and name.lower() not in ("http_proxy", "https_proxy", "all_proxy")
    }
    return kept | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
    }


def patch_clients(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    """Point the clients of this process at a hub and at an empty cache, without a token.

    `huggingface_hub` and `datasets` read the environment when they are imported, so their
    constants change with it.
    """
    for name in set(os.environ) - set(hub_environment(url, home)):
        monkeypatch.delenv(name)
    for name, value in hub_environment(url, home).items():
        monkeypatch.setenv(name, value)
    hub, cache = str(home / "hub"), home / "datasets"
    patched: dict[str, dict[str, Any]] = {
        "huggingface_hub.constants": {
            "ENDPOINT": url,
            "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_URL_HOSTS": frozenset({"huggingface.co", "hf.co", str(urlsplit(url).hostname)}),
            "HF_HOME": str(home),
            "HF_HUB_CACHE": hub,
            "HUGGINGFACE_HUB_CACHE": hub,
            "HF_ASSETS_CACHE": str(home / "assets"),
            "HF_XET_CACHE": str(home / "xet"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "AGENT_HARNESSES_PATH": str(home / ".agent_harnesses.json"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        },
        "huggingface_hub.hf_api": {"api.endpoint": url},
        "transformers.utils.hub": {"HF_MODULES_CACHE": str(home / "modules")},
        "datasets.config": {
            "HF_ENDPOINT": url,
            "HUB_DATASETS_URL": url + "/datasets/{repo_id}/resolve/{revision}/{path}",
            "HF_CACHE_HOME": str(home),
            "HF_DATASETS_CACHE": cache,
            "HF_MODULES_CACHE": home / "modules",
            "DOWNLOADED_DATASETS_PATH": cache / "downloads",
            "EXTRACTED_DATASETS_PATH": cache / "downloads" / "extracted",
            "HF_HUB_OFFLINE": False,
            "HF_DATASETS_OFFLINE": False,
        },
    }
    for module, values in patched.items():
        place = importlib.import_module(module)
        for name, value in values.items():
            owner, _, attribute = name.rpartition(".")
            monkeypatch.setattr(getattr(place, owner) if owner else place, attribute, value)
    for module in RETRYING:
        monkeypatch.setattr(importlib.import_module(module), "time", NoWait)
