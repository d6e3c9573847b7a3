"""The adapters against the packages themselves, for `make interop`; nothing is uploaded."""

import importlib
import sys
from pathlib import Path

import pytest

from sweeps.ledger.records import TrialRecord
from sweeps.tracking.delivery import send_run
from tests.interop.conftest import require
from tests.sweeps.conftest import write_ledger

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of these packages and what they load
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: demo\ndata: {path: 'https://me:pw12@host/x'}\n")
    (folder / "report.html").write_text("<p>page</p>")
    (folder / "leaderboard.csv").write_text("country,rank\nChile,1\n")
    return folder


@pytest.fixture
def few(records: list[TrialRecord], run: Path) -> list[TrialRecord]:
    chosen = [records[0], records[1], records[-1]]  # two of Chile, and its failure
    write_ledger(run, chosen)
    return chosen


def test_mlflow_has_a_parent_with_files_and_a_child_a_training(
    run: Path, few: list[TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = require("mlflow")
    store = f"sqlite:///{run.parent / 'mlflow.db'}"
    monkeypatch.chdir(run.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    mlflow.set_tracking_uri(store)
    assert send_run(["mlflow"], run, few) == {"mlflow": 3}
    again = few[0].model_copy(update={"objectives": {"validation_accuracy": 0.5}})
    assert send_run(["mlflow"], run, [again, *few[1:]]) == {"mlflow": 1}

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("demo")
    runs = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 4
    (parent,) = (each for each in runs.values() if "mlflow.parentRunId" not in each.data.tags)
    assert parent.data.params["data.path"] == "https://***@host/x"
    assert parent.info.status == "FINISHED"
    files = [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert files == ["leaderboard.csv", "report.html"]
    child = runs[few[1].trial_id]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params["retention"] == "0.4"
    assert child.data.metrics["validation/overall"] == few[1].evaluation.overall.accuracy
    assert child.info.end_time - child.info.start_time == 42_000
    assert runs[few[0].trial_id].data.metrics["validation_accuracy"] == 0.5
    failed = runs[few[2].trial_id]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["error"].startswith("RuntimeError: <CUDA> out of memory")


def test_tensorboard_has_a_folder_a_training_with_its_setting_and_scalars(
    run: Path, few: list[TrialRecord]
) -> None:
    assert send_run(["tensorboard"], run, few) == {"tensorboard": 3}
    folders = {path.parent.name for path in run.rglob("events.out.tfevents.*")}
    assert folders == {"tensorboard", *(record.trial_id for record in few)}

    loader = require("tensorboard.backend.event_processing.event_accumulator")
    events = loader.EventAccumulator(str(run / "tensorboard" / few[1].trial_id))
    events.Reload()
    (scalar,) = events.Scalars("validation/overall")
    assert scalar.value == pytest.approx(few[1].evaluation.overall.accuracy)
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert len(list((run / "tensorboard").glob("events.out.*"))) == len(few) + 2  # each closed
    whole = loader.EventAccumulator(str(run / "tensorboard"))
    whole.Reload()
    points = whole.Scalars("validation_accuracy/Chile")
    assert [point.step for point in points] == [0, 1]


def test_wandb_offline_has_a_run_for_the_sweep_and_each_training(
    run: Path, few: list[TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert send_run(["wandb"], run, few) == {"wandb": 3}
    assert send_run(["wandb"], run, few) == {"wandb": 0}
    term = importlib.import_module("wandb.errors.term")
    assert not term.can_use_terminput()  # for an account, where nobody is logged in
    names = [path.name for path in (run / "wandb").glob("offline-run-*")]
    for record in few:
        (file,) = (run / "wandb").glob(f"offline-run-*-{record.trial_id}/*.wandb")
        assert b"retention" in file.read_bytes()
        assert b"pw12" not in file.read_bytes()
    assert len(names) in (4, 5)  # the second session has a folder of the parent's too


def test_trackio_has_a_run_for_the_sweep_and_each_training(
    run: Path,
    few: list[TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # it reads its folder when it is imported
    monkeypatch.setenv("TRACKIO_DIR", str(run.parent / "trackio"))
    trackio = require("trackio")
    assert send_run(["trackio"], run, few) == {"trackio": 3}
    assert send_run(["trackio"], run, few) == {"trackio": 0}
    assert capsys.readouterr().out == ""
    runs = {each.name.partition("-")[2]: each for each in trackio.Api().runs("demo")}
    assert runs.keys() == {"sweep", *(record.trial_id for record in few)}
    assert runs[few[1].trial_id].config["retention"] == 0.4
    assert runs["sweep"].config["data.path"] == "https://***@host/x"
    assert len(trackio.Api().runs("demo")) == len(few) + 1  # the second sending made no more
