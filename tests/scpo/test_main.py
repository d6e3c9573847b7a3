"""Every command through the command line: what it writes, and one line of error on bad input."""

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from transformers import AutoModelForSequenceClassification

from scpo import __main__ as command_line
from tests.forked import run_scpo, start_scpo

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCli:
    """Runs `scpo ARGUMENTS` in this process and returns exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scpo", *map(str, arguments)])
        capsys.readouterr()  # what fixtures said
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        return int(code or 0), out, err

    return run


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared synthetic world, made by the command line in a process of its own."""
    out = tmp_path_factory.mktemp("prepared")
    command = [sys.executable, "-m", "scpo", "prepare", "synthetic", "--out", str(out)]
    sizes = ["num_countries=3", "users_per_country=12", "interactions_per_user=2"]
    for size in sizes:
        command += ["--set", f"synthetic.{size}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Arvandia" in done.stdout
    return out


@pytest.fixture(scope="module")
def global_model(
    prepared: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("global") / "model"
    done = run_scpo(
        *("train-global", "--data", prepared, "--backbone", tiny_backbone, "--out", out),
        *("--exclude", "Arvandia", "--max-tokens", 96, "--set", "learning_rate=0.001"),
    )
    assert done.returncode == 0, done.stderr
    assert "held-out pairs" in done.stdout
    return out


def test_road_from_data_to_a_judged_model(
    prepared: Path, global_model: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    common = ["--data", prepared, "--global-model", global_model, "--cache", tmp_path / "cache"]
    common += ["--max-tokens", 96]
    code, out, _ = run_cli("score", *common, "--countries", "Arvandia")
    assert code == 0
    assert out.startswith("96 texts scored, 0 from the cache")
    code, out, _ = run_cli("score", *common, "--countries", "Arvandia")
    assert out.startswith("0 texts scored, 96 from the cache")

    model = tmp_path / "model"
    code, out, _ = run_cli(
        *("train", *common, "--country", "Arvandia", "--arm", "scpo", "--out", model),
        *("--tau", 0.6, "--beta", 0.9, "--set", "learning_rate=0.001"),
    )
    assert code == 0
    assert "pairs (" in out
    AutoModelForSequenceClassification.from_pretrained(model)

    judged = tmp_path / "judged"
    code, out, _ = run_cli(
        "evaluate", *common, "--model", model, "--country", "Arvandia", "--out", judged
    )
    assert code == 0
    assert "Held-out users" in out
    evaluation = json.loads((judged / "evaluation.json").read_text())
    assert evaluation["part"] == "test"
    rows = {(row["arm"], row["layer"]): row for row in evaluation["tables"]["accuracy"]}
    assert {arm for arm, _ in rows} == {"global", "length", "own"}
    overall = rows["own", "overall"]
    assert overall["low"] <= overall["accuracy"]
    layers = rows["own", "distinctive"]["pairs"] + rows["own", "consensus"]["pairs"]
    assert overall["pairs"] == layers > 0
    assert (judged / "matrix-own.png").is_file()


@pytest.mark.slow
def test_a_training_killed_goes_on_by_the_same_command(
    prepared: Path, global_model: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    command = ["--data", prepared, "--global-model", global_model, "--country", "Arvandia"]
    command += ["--cache", tmp_path / "cache", "--max-tokens", 96, "--set", "epochs=8"]
    command += ["--set", "pairs_per_step=2", "--set", "checkpoint_every=30"]
    code, whole, _ = run_cli("train", *command, "--out", tmp_path / "whole")
    assert code == 0
    arguments = ["train", *map(str, command), "--out", str(tmp_path / "killed")]
    process = start_scpo(*arguments)
    checkpoints = tmp_path / "killed.checkpoints"
    while not process.ended() and not list(checkpoints.glob("step-*")):
        threading.Event().wait(0.02)
    process.kill()
    assert process.wait(0) == -9  # in the midst
    code, out, _ = run_cli(*arguments)
    assert code == 0
    assert out.startswith("Resumed from step ")
    assert out.split("last loss ")[1].split()[0] == whole.split("last loss ")[1].split()[0]
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not checkpoints.exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_train_on_two_workers_equals_one(
    prepared: Path, global_model: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    command = ["--data", prepared, "--global-model", global_model, "--country", "Arvandia"]
    command += ["--cache", tmp_path / "cache", "--max-tokens", 96, "--set", "learning_rate=0.001"]
    code, one, _ = run_cli("train", *command, "--out", tmp_path / "one")
    assert code == 0
    two = run_scpo("train", *command, "--workers", 2, "--out", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    losses = [float(text.split("last loss ")[1].split()[0]) for text in (one, two.stdout)]
    assert losses[0] == pytest.approx(losses[1], abs=1.01e-4)  # printed to four places


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nowhere", "--out", "x"], "source: Input should be 'prism', 'pairs'"),
        (["prepare", "pairs", "--path", "none.jsonl", "--out", "x"], "none.jsonl"),
        (["prepare", "synthetic", "--out", "x", "--set", "synthetic.num_contries=3"],
         "unknown key 'synthetic.num_contries'; did you mean 'synthetic.num_countries'?"),
        (["score", "--data", "none", "--global-model", "m/n/o"], "No interactions at"),
        (["sweep", "none.yaml", "--out", "x"], "No configuration at none.yaml"),
        (["sweep", "sweeps/configs/demo.yaml", "--out", "x", "--set", "search.trials=3"],
         "unknown key 'search.trials'; did you mean 'search.num_trials'?"),
        (["sweep", "sweeps/configs/demo.yaml", "--out", "x", "--set", "beta"],
         "An override is key.sub=value, but got 'beta'"),
        (["evaluate"], "--data with --model, or --run RUN of a sweep"),
        (["evaluate", "--run", "none", "--data", "d"], "--run has its own data, models and"),
        (["evaluate", "--run", "none"], "Is none the folder of a sweep"),
        (["evaluate", "--data", "d", "--model", "global=g", "--model", "A=x", "--model", "A=y"],
         "Each label must come once, but 'A' is given to x and to y"),
        (["opinions", "--out", "x", "--model", "g"], "A model is given as LABEL=MODEL"),
        (["probe", "sweeps/configs/demo.yaml", "--out", "s3://b/x"], "local path"),
        (["sweep", "sweeps/configs/demo.yaml", "--out", "s3://k:v@b/x"], "must carry no credent"),
        (["rank", "s3://"], "Must be s3://BUCKET/FOLDER"),
        (["rank", "none"], "none"),
        (["curves", "none"], "No ledger at"),
        (["report", "none"], "none"),
        (["submit", "none.yaml", "--out", "/mnt/x"], "none.yaml"),
        (["submit", "sweeps/configs/demo.yaml", "--out", "relative"], "absolute"),
        (["status", "x", "--address", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["stop", "x", "--address", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], message: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "no-token")
    code, _, err = run_cli(*arguments)
    assert code == 2
    assert err.startswith("scpo: ")
    assert message in err
    assert "Traceback" not in err


def test_a_full_disk_says_what_to_do(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    code, _, err = run_cli("prepare", "synthetic", "--out", tmp_path / "data")
    assert code == 2
    assert "No space left on device: '" in err
    assert "'. The disk or your quota is full." in err
    assert not (tmp_path / "data" / "interactions.parquet").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_reference_rewards_are_of_the_precision_of_training(
    precision: str, prepared: Path, global_model: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    common = ["--data", prepared, "--global-model", global_model, "--max-tokens", 96]
    common += ["--cache", tmp_path / "cache", "--country", "Arvandia", "--out", tmp_path / "m"]
    code, _, err = run_cli("train", *common, "--set", f"precision={precision}")
    assert code == 0, err
    (folder,) = (tmp_path / "cache" / "reference").iterdir()
    code, out, _ = run_cli(
        "score",
        *common[:6],
        "--cache",
        tmp_path / "cache",
        "--countries",
        "Arvandia",
        "--precision",
        precision,
    )
    assert out.startswith("0 texts scored, 96 from the cache")
    assert str(folder) in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--country", "Atlantis"], "No interactions of Atlantis; there are some of Arvandia"),
        (["--tau", 1.5], "`0 < tau <= 1` must hold, but got tau=1.5"),
        (["--beta", 0], "`beta > 0` must hold, but got beta=0.0"),
        (["--arm", "scop"], "arm must be one of full, filter"),
        (["--tau", 1e-9], "keeps none of"),
        (["--workers", 0], "`workers >= 1`"),
        (["--workers", 2, "--offload", "weights"], "To offload weights, ZeRO stage 3"),
        (["--overlong", "cut"], "overlong: Input should be 'truncate_prompt'"),
        (["--set", "epochs=-1"], "epochs: Input should be greater than 0"),
        (["--set", "learning_rte=1"], "did you mean 'learning_rate'?"),
    ],
)
def test_bad_training_is_refused_in_words(
    change: list[object],
    message: str,
    prepared: Path,
    global_model: Path,
    run_cli: RunCli,
    tmp_path: Path,
) -> None:
    common = ["--data", prepared, "--global-model", global_model, "--out", tmp_path / "m"]
    common += ["--cache", tmp_path / "cache", "--max-tokens", 96, "--country", "Arvandia"]
    code, _, err = run_cli("train", *common, *change)
    assert code == 2
    assert message in err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "command",
    [
        "score --data none --global-model none --workers 2",
        "score --data none --global-model none --workers 0",
        "score --data none --global-model none --workers 2 --sharded",
        "train --data none --global-model none --country Chile --out m --workers 2",
        "train --data none --global-model none --country Chile --out m --workers 2 --zero-stage 3",
        "probe demo --set global_model.backbone=none --out m",
        "ablate demo --set global_model.backbone=none --out m",
    ],
)
def test_a_cluster_that_is_not_there_is_named_before_anything_is_prepared(
    command: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # another test's cluster is here
    code, _, err = run_cli(*command.split())
    assert code == 2
    assert "must answer at RAY_ADDRESS=127.0.0.1:1, but got" in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_backbone_is_no_global_model(
    prepared: Path, tiny_backbone: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    code, _, err = run_cli(
        *("score", "--data", prepared, "--global-model", tiny_backbone),
        *("--cache", tmp_path),
    )
    assert code == 2
    assert "the checkpoint lacks classifier.bias, classifier.weight" in err
    assert "scpo train-global" in err


def test_dry_run_prints_the_resolved_configuration(run_cli: RunCli, tmp_path: Path) -> None:
    code, out, _ = run_cli(
        *("sweep", Path(__file__).parents[2] / "sweeps/configs/prism.yaml"),
        *("--out", tmp_path / "x", "--dry-run", "--set", "search.num_trials=3"),
    )
    assert code == 0
    assert "num_trials: 3" in out
    assert not (tmp_path / "x").exists()


def test_submit_dry_run_sends_nothing(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    code, out, _ = run_cli(
        *("submit", "sweeps/configs/demo.yaml", "--out", "/mnt/runs/demo", "--dry-run")
    )
    assert code == 0
    assert "--resume" in out


def test_light_commands_import_neither_ray_nor_torch() -> None:
    check = (
        "import sys; from scpo import __main__; assert 'numpy' not in sys.modules; "
        "import sweeps.ranking.ranking, sweeps.report.report_page, sweeps.curves.output.figure; "
        "print(sorted({'ray', 'torch', 'deepspeed'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
