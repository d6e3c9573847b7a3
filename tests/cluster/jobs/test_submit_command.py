"""`scpo submit` with a stand-in for the cluster."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import cluster.access.token
import cluster.jobs.client
import scpo.commands.cluster
from scpo.__main__ import make_app


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("countries: [France]\n")
    monkeypatch.setattr(cluster.access.token, "use_token", lambda required: None)
    monkeypatch.setattr(scpo.commands.cluster, "_use_cluster", lambda address, profile: address)
    monkeypatch.setattr(cluster.jobs.client, "submit_job", lambda *_, **__: "submitted")


def submit(*options: Any) -> Result:
    return CliRunner().invoke(
        make_app(), ["submit", "sweep.yaml", "--out", "/mnt/runs/a", "--no-follow", *options]
    )


def test_a_folder_without_scpo_is_warned_about(tmp_path: Path) -> None:
    done = submit()
    assert done.exit_code == 0, done.output
    assert "a: submitted" in done.stdout
    assert done.stderr.count("scpo itself is not sent") == 1
    (tmp_path / "scpo").mkdir()
    (tmp_path / "scpo" / "__main__.py").touch()
    assert submit().stderr == ""
