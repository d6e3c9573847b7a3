"""Commands and the folders they write: nothing of anybody else's is touched, splits stay."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scpo import __main__ as command_line
from scpo.files.atomic import read_marker
from scpo.files.output_folder import LOCK, output_folder, this_owner
from scpo.models.loading import load_reward_model
from tests.saved_model import save_reward_model

Run = Callable[..., str]
DEMO = Path(__file__).parents[3] / "sweeps/configs/demo.yaml"
SMALL = "num_countries=2 interactions_per_user=2 users_per_country=".split()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `scpo ARGUMENTS` here, and returns what it says; a refusal is one line and code 2."""

    def run(*arguments: object, refused: bool = False) -> str:
        monkeypatch.setattr(sys, "argv", ["scpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        out, err = capsys.readouterr()
        assert int(caught.value.code or 0) == (2 if refused else 0), err
        assert not refused or err.count("\n") == 1
        return err if refused else out

    return run


def prepare(users: int, out: Path, *more: str) -> list[object]:
    sizes = [f"synthetic.{word}" for word in (*SMALL[:2], f"{SMALL[2]}{users}")]
    given = [part for size in sizes for part in ("--set", size)]
    return ["prepare", "synthetic", "--out", out, *given, *more]


@pytest.fixture
def model(tiny_backbone: Path, tmp_path: Path) -> Path:
    return save_reward_model(load_reward_model(str(tiny_backbone), new_head=True), tmp_path / "g")


def test_the_split_stays_when_users_come_and_who_trained_never_tests(
    run: Run, model: Path, tmp_path: Path
) -> None:
    data, more = tmp_path / "data", tmp_path / "more"
    run(*prepare(12, data))
    common = ["--global-model", model, "--cache", tmp_path / "cache", "--max-tokens", 96]
    train = ["train", *common, "--data", data, "--country", "Arvandia", "--out", tmp_path / "m"]
    run(*train)
    sides = json.loads((data / "split.json").read_text())["countries"]["Arvandia"]
    assert len(read_marker(tmp_path / "m")["trained_on"]) == list(sides.values()).count("train")
    assert "--overwrite" in run(*prepare(13, data), refused=True)
    run(*prepare(13, data, "--overwrite"))
    judge = ["evaluate", *common, "--model", tmp_path / "m", "--country", "Arvandia"]
    run(*judge, "--data", data, "--out", tmp_path / "judged")
    after = json.loads((data / "split.json").read_text())["countries"]["Arvandia"]
    assert len(after) == 13
    assert sides.items() <= after.items()
    run(*prepare(14, more))
    assert "users who judge it trained it" in run(*judge, "--data", more, refused=True)
    # the model is of other data now
    assert "made from other data or settings" in run(*train, refused=True)
    run(*train, "--overwrite")


def test_the_same_content_by_another_name_is_written_again(run: Run, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "country": "Chile"}
    (shards / "p.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shards)
        for path in ("p.jsonl", "./p.jsonl", shards / "p.jsonl"):
            run("prepare", "pairs", "--path", path, "--out", tmp_path / "data")
        for out in ("out", "data"):  # below what is read
            for _ in range(2):
                run("prepare", "pairs", "--path", ".", "--out", out)
    (shards / "p.jsonl").write_text(json.dumps({**row, "chosen": "c"}) + "\n")
    said = run(
        *("prepare", "pairs", "--path", shards / "p.jsonl", "--out", tmp_path / "data"),
        refused=True,
    )
    assert "data holds prepared data, made from other data or settings." in said


def test_a_model_that_has_changed_at_its_place_is_another(
    run: Run, model: Path, tmp_path: Path
) -> None:
    data, own = tmp_path / "data", tmp_path / "m"
    run(*prepare(12, data))
    common = ["--global-model", model, "--cache", tmp_path / "cache", "--max-tokens", 96]
    train = ["train", *common, "--data", data, "--out", own, "--country"]
    run(*train, "Arvandia")
    run(*train, " Arvandia")  # the same country
    judge = ["evaluate", *common, "--data", data, "--model", own, "--out", tmp_path / "judged"]
    run(*judge, "--country", "Arvandia")
    run(*judge, "--country", " Arvandia")
    opinions = ["opinions", "--model", f"global={model}", "--out", tmp_path / "opinions"]
    opinions += ["--path", _survey(tmp_path), "--min-questions", 1]
    run(*opinions)
    pretrain = ["train-global", "--data", data, "--backbone", model, "--out", tmp_path / "glo"]
    extra = tmp_path / "extra.jsonl"
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    extra.write_text("".join(json.dumps({**row, "prompt": f"p {n}"}) + "\n" for n in range(9)))
    pretrain += ["--extra-pairs", extra, "--max-tokens", 96]
    run(*pretrain)
    extra.write_text(extra.read_text().replace("p 8", "p 9"))
    assert "made from other data or settings" in run(*pretrain, refused=True)
    changed = load_reward_model(str(model))
    next(changed.model.parameters()).data.mul_(1.5)
    save_reward_model(changed, model)
    for again in ([*train, "Arvandia"], [*judge, "--country", "Arvandia"], opinions, pretrain):
        assert "made from other data or settings" in run(*again, refused=True)


def _survey(folder: Path) -> Path:
    file = folder / "survey.csv"
    lines = [
        f"Q {n}?,\"defaultdict(<class 'list'>, {{'Chile': [0.{n}, 0.{10 - n}]}})\",\"['a', 'b']\""
        for n in range(1, 10)
    ]
    file.write_text("\n".join(["question,selections,options", *lines]) + "\n")
    return file


def test_a_folder_of_models_and_notes_is_not_replaced(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*prepare(8, tmp_path / "data"))
    kept = tmp_path / "models"
    (kept / "old").mkdir(parents=True)
    (kept / "old" / "model.safetensors").write_bytes(b"weights")
    (kept / "notes.md").write_text("mine")
    before = sorted(path.name for path in kept.rglob("*"))
    train = ["train", "--data", tmp_path / "data", "--global-model", model, "--country"]
    train += ["Arvandia", "--cache", tmp_path / "cache", "--max-tokens", 96, "--out"]
    monkeypatch.chdir(model)
    for folder in (kept, tmp_path / "data", model, tmp_path, ".", "..", "/"):
        for flag in ([], ["--overwrite"]):
            assert "traceback" not in run(*train, folder, *flag, refused=True)
    assert "checkpoints of this training, but holds" in _with_checkpoints(run, train, tmp_path)
    for command in ("evaluate", "opinions"):
        label = f"Arvandia={model}"
        given = ["--model", label, "--out", kept, "--overwrite"]
        given += ["--data", tmp_path / "data", "--global-model", model] * (command == "evaluate")
        assert "holds other files" in run(command, *given, refused=True)
    for command in ("sweep", "plan", "probe", "ablate"):
        said = run(command, DEMO, "--out", kept, refused=True)
        assert "holds other files" in said
    assert "holds other files" in run("science", "truth", "--out", kept, refused=True)
    assert "holds other files" in run(*prepare(8, kept), refused=True)
    assert sorted(path.name for path in kept.rglob("*")) == before


def _with_checkpoints(run: Run, train: list[object], folder: Path) -> str:
    (folder / "new.checkpoints").mkdir()
    (folder / "new.checkpoints" / "thesis.tex").write_text("mine")
    said = run(*train, folder / "new", refused=True)
    assert (folder / "new.checkpoints" / "thesis.tex").exists()
    return said


@pytest.mark.parametrize("command", ["sweep", "plan", "probe", "ablate"])
def test_a_run_that_another_process_writes_is_refused_at_once(
    run: Run, tmp_path: Path, command: str
) -> None:
    with output_folder(tmp_path / "run", "run"):
        said = run(command, DEMO, "--out", tmp_path / "run", refused=True)
    assert f"process {this_owner()['pid']} of" in said
    assert not (tmp_path / "run" / LOCK).exists()
