"""The driver's journal holds what Optuna's own readers expect."""

import optuna
import pytest
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.search.journal import JOURNAL, new_storage


def test_another_process_reads_what_was_written_so_far(tmp_path):
    (tmp_path / JOURNAL).write_text("of an earlier session")
    (tmp_path / f"{JOURNAL}.lock").write_text("of a driver that was killed")
    storage = new_storage(tmp_path)
    for name in ("Chile", "Peru"):
        study = optuna.create_study(study_name=name, storage=storage)
        study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=2)
        running = study.ask()
        running.set_user_attr("a", (1, 2))
        other = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
        seen = optuna.load_study(study_name=name, storage=other)
        assert seen.trials == study.trials
        assert [trial.state.name for trial in seen.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert [file.name for file in tmp_path.iterdir()] == [JOURNAL]


def test_a_copy_that_somebody_made_stays(tmp_path):
    for name in (f"{JOURNAL}.bak", f"{JOURNAL}-mine"):
        (tmp_path / name).write_text("of the user")
    new_storage(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        JOURNAL,
        f"{JOURNAL}.bak",
        f"{JOURNAL}-mine",
    }


def test_a_note_that_another_process_writes_stays(tmp_path):
    """As of optuna-dashboard, which takes notes beside a study while it runs."""
    study = optuna.create_study(study_name="Chile", storage=new_storage(tmp_path))
    study.tell(study.ask(), 1.0)

    def read():
        other = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
        return optuna.load_study(study_name="Chile", storage=other)

    read().set_user_attr("note", "long " * 100)
    study.tell(study.ask(), 2.0)
    assert read().user_attrs == {"note": "long " * 100}
    assert [trial.value for trial in read().trials] == [1.0, 2.0]


def test_an_entry_that_is_refused_stops_no_later_one(tmp_path):
    storage = new_storage(tmp_path)
    study = optuna.create_study(study_name="Chile", storage=storage)
    with pytest.raises(DuplicatedStudyError):
        optuna.create_study(study_name="Chile", storage=storage)
    study.tell(study.ask(), 1.0)
    assert study.best_value == 1.0
