import re
import subprocess

from scpo.files import provenance
from scpo.files.provenance import installed_versions, source_commit, utc_now


def test_versions_name_what_shapes_a_result(monkeypatch):
    versions = installed_versions()
    assert versions.keys() >= {"python", "torch", "transformers", "numpy", "scpo"}
    assert all(re.match(r"\d+\.\d+", version) for version in versions.values())
    monkeypatch.setattr(provenance, "RECORDED_PACKAGES", ("no-such-package",))
    assert installed_versions()["no-such-package"] == "absent"


def answers(*replies):
    """A stand-in for git that gives these exit codes and outputs in turn."""
    left = list(replies)

    def run(command, **named):
        code, output = left.pop(0)
        return subprocess.CompletedProcess(command, code, stdout=output, stderr="")

    return run


def test_the_commit_says_when_files_differ(monkeypatch):
    monkeypatch.setattr(subprocess, "run", answers((0, "abc\n"), (0, "")))
    assert source_commit() == "abc"
    monkeypatch.setattr(
        subprocess, "run", answers((0, "abc\n"), (0, " M scpo/training/loss.py\n"))
    )
    assert source_commit() == "abc+"


def test_there_is_no_commit_outside_git(monkeypatch):
    monkeypatch.setattr(subprocess, "run", answers((128, "")))
    assert source_commit() is None

    def missing(command, **named):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert source_commit() is None


def test_time_is_utc():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", utc_now())
