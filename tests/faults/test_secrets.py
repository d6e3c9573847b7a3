"""Planted secrets: none is sent, and none is written or shown."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import yaml

from cluster.jobs.package import check_package
from cluster.jobs.sent_files import staged
from cluster.jobs.submission import plan_submission
from scpo.text.secrets import has_secret
from sweeps.jobs.job import Job
from sweeps.jobs.job_records import failed_record
from sweeps.ledger.records import Ledger, read_records
from sweeps.report.report_page import write_report
from sweeps.tracking.sent_values import sent_sweep, sent_trial
from tests.faults.planted import core_of, innocent_files, secret_files, tokens
from tests.faults.readers import copy_of, run_command
from tests.faults.table import injected

CONFIG = {"name": "x", "countries": ["Chile"], "global_model": {"name": "org/model"}}
TOKENS = tokens()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose secrets are all tracked by git."""
    monkeypatch.chdir(tmp_path)
    for name, text in {**secret_files(), **innocent_files(), "scpo/a.py": "x = 1\n"}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(CONFIG))
    for command in (["init", "-q"], ["add", "--force", "--all"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    return tmp_path


def test_no_secret_of_the_working_folder_is_sent(folder: Path, tell: Callable[..., None]) -> None:
    planted = [*secret_files(), *innocent_files()]
    submission, package = check_package(plan_submission(Path("sweep.yaml"), out="/mnt/x"))
    with staged(submission, package.files) as sent:
        found = {
            path.relative_to(sent.working_dir).as_posix()
            for path in sent.working_dir.rglob("*")
            if path.is_file()
        }
    listed = json.loads(run_command("submit", "sweep.yaml", "--out", "/mnt/x", "--dry-run").said)
    assert (
        {*listed["package"]["files"]} == found == {"scpo/a.py", "sweep.yaml"} | {*planted} & found
    )
    bad = sorted({*planted} & found)
    tell(
        "a secret in a file of the working folder", len(planted), bad, says=package.summary()[:90]
    )


@injected(3, len(TOKENS))
def test_no_secret_of_a_configuration_or_a_command_line_is_written_or_shown(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[..., None]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    bad, says, took_s = [], "", []
    for name, token in few_tokens(times):
        for where, words in command_lines(token).items():
            (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(words[1]))
            ended = run_command(*words[0])
            took_s.append(ended.seconds)
            shown = core_of(token) in ended.said or core_of(token) in written(tmp_path)
            if shown or ended.code != 2 or ended.has_traceback:
                bad.append(f"{name} in {where}: {ended.code}, {ended.said[-300:]}")
            says = ended.said
    kind = "a secret in a configuration or a command line"
    tell(kind, len(took_s), bad, noticed_s=median(took_s), says=says[:120])


def command_lines(token: str) -> dict[str, tuple[list[str], dict[str, object]]]:
    """Return command lines, and the configuration they read, that carry a token somewhere."""
    good = ["sweep", "sweep.yaml", "--out", "run"]
    return {
        "a value": (good, {**CONFIG, "data": {"source": "pairs", "path": token}}),
        "a list": (good, {**CONFIG, "countries": ["Chile", token]}),
        "a key": (good, {**CONFIG, token: 1}),
        "--set": ([*good, "--set", f"global_model.name={json.dumps(token)}"], CONFIG),
        "an argument": (["rank", token], CONFIG),
        "submit": (["submit", "sweep.yaml", "--out", "/mnt/x"], {**CONFIG, "cache": token}),
        "submit --set": (
            ["submit", "sweep.yaml", "--out", "/mnt/x", "--set", f"cache={json.dumps(token)}"],
            CONFIG,
        ),
    }


def few_tokens(number: int) -> list[tuple[str, str]]:
    """Return so many of the tokens, from all over the list."""
    return list(TOKENS.items())[:: len(TOKENS) // number]


def written(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "sweep.yaml"]
    return "".join(path.read_text(errors="replace") for path in files)


@injected(3, len(TOKENS))
def test_no_variable_that_holds_a_secret_is_sent_or_read(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[..., None]
) -> None:
    monkeypatch.chdir(tmp_path)
    bad, num_planted = [], 0
    submit = ["submit", "sweep.yaml", "--out", "/mnt/x", "--dry-run"]
    for number, (name, token) in enumerate(few_tokens(times)):
        variable = f"SETTING_{number}"
        monkeypatch.setenv(variable, token)
        for words, path in (
            ([*submit, "--env", variable], "pairs.jsonl"),
            (["sweep", "sweep.yaml", "--out", "run", "--dry-run"], f"${{{variable}}}"),
        ):
            config = {**CONFIG, "data": {"source": "pairs", "path": path}}
            (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
            (tmp_path / "pairs.jsonl").write_text("{}\n")
            ended = run_command(*words)
            num_planted += 1
            if ended.code != 2 or core_of(token) in ended.said + written(tmp_path):
                bad.append(f"{name}, {words[0]}: {ended.code}, {ended.said[-300:]}")
    tell(
        "a secret in a variable, by --env or ${NAME}", num_planted, bad, says="refused by its name"
    )


def test_what_a_run_writes_and_sends_holds_no_secret_of_an_error(
    finished_run: Path, tmp_path: Path, tell: Callable[..., None]
) -> None:
    run = copy_of(finished_run, tmp_path / "run")
    ledger = Ledger(run)
    for number, token in enumerate(TOKENS.values()):
        job = Job(f"t-{number}", "search", "Arvandia", "scpo_tuned", 1e-3, 1.0, number)
        ledger.append(failed_record(job, f"OSError: https://example.org refused {token}: 403"))
    page = write_report(run).read_text()
    sent = [sent_sweep(ledger.run, run), *(sent_trial(r, 0) for r in read_records(run))]
    shown = written(run) + page + repr(sent)
    bad = [name for name, token in TOKENS.items() if core_of(token) in shown]
    tell("a secret in an error of a training", len(TOKENS), bad, says="*** in records and page")


def test_every_token_is_known_by_its_shape() -> None:
    assert [name for name, token in TOKENS.items() if not has_secret(f"a {token} b")] == []
