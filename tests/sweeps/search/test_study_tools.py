"""Tools that read a study: optuna.visualization, and the API of optuna-dashboard."""

import json
from pathlib import Path

import matplotlib as mpl
import optuna
import pytest

from sweeps.config import SearchConfig
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import OBJECTIVES
from sweeps.search.country_study import CountryStudy
from sweeps.search.journal import new_storage
from tests.interop.conftest import require

FACTS = {"country": "South Africa", "sweep": "demo", "arm": "scpo_tuned"}
ONE_VALUE = {  # figures of one objective
    *("plot_contour", "plot_edf", "plot_optimization_history", "plot_parallel_coordinate"),
    *("plot_param_importances", "plot_rank", "plot_slice"),
}


def record(number: int) -> TrialRecord:
    state = ("complete", "complete", "complete", "pruned", "failed")[number % 5]
    complete = state == "complete"
    return TrialRecord(
        trial_id=f"south-africa-{number:04d}",
        purpose="search",
        country="South Africa",
        arm="scpo_tuned",
        state=state,
        config={
            "retention": 0.2 + 0.05 * number,
            "strength": 0.1 * number,
            "learning_rate": 1e-5 * (1 + number % 4),
            "epochs": 0.5 + 0.1 * number,
        },
        config_hash=str(number),
        seed=0,
        objectives={"validation_accuracy": 0.5 + 0.01 * number, "pairs_trained": 20.0 + number}
        if complete
        else {},
        constraints={"consensus_drop": 0.1 if number == 1 else -0.1} if complete else {},
    )


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's journal with a trial told by a search after those of an earlier session."""
    run = tmp_path_factory.mktemp("run")
    known = [record(number) for number in range(12)]
    own = CountryStudy(
        "South Africa", SearchConfig(), new_storage(run), (), lambda point: None, known, FACTS
    )
    number, trial = own.ask()
    asked = record(15).model_copy(update={"trial_id": f"south-africa-{number:04d}"})
    told = asked.model_copy(update={"constraints": {"consensus_drop": 0.3}})
    own.tell(trial, {**told.objectives, "record": told.model_dump_json()})
    return run / "optuna.journal"


@pytest.fixture
def study(journal: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.load_study(
        study_name="South Africa", storage=optuna.storages.JournalStorage(backend)
    )


def test_a_study_is_named_by_its_country_and_says_what_it_is(study: optuna.Study) -> None:
    assert study.metric_names == list(OBJECTIVES)
    assert FACTS.items() <= study.user_attrs.items()
    assert len(study.user_attrs["space"]) == 8


def test_what_breaks_a_constraint_is_no_best_trial(study: optuna.Study) -> None:
    trials = {trial.user_attrs["trial_id"]: trial for trial in study.trials}
    assert [list(trials[f"south-africa-{n:04d}"].constraints.values()) for n in (0, 1, 12)] == [
        [-0.1],
        [0.1],
        [0.3],
    ]
    best = {trial.user_attrs["trial_id"] for trial in study.best_trials}
    assert "south-africa-0000" in best
    assert not best & {"south-africa-0001", "south-africa-0012"}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:PedAnova.*:UserWarning")
@pytest.mark.parametrize(
    "backend", ["matplotlib", pytest.param("plotly", marks=pytest.mark.interop)]
)
def test_every_figure_of_optuna_can_be_drawn(study: optuna.Study, backend: str) -> None:
    mpl.use("Agg")
    if backend == "plotly":
        tools = optuna.visualization
    else:
        tools = optuna.visualization.matplotlib
    names = [name for name in tools.__all__ if name.startswith("plot_")]
    assert len(names) >= 10
    for name in names:
        draw = getattr(tools, name)
        options: dict[str, object] = {}
        if name in ONE_VALUE:
            options = {"target": lambda trial: trial.values[0], "target_name": OBJECTIVES[0]}
        if name in ("plot_contour", "plot_rank"):  # a panel for each two parameters is slow
            options["params"] = ["retention", "strength"]
        if name == "plot_hypervolume_history":
            options = {"reference_point": [0.0, 1000.0]}
        if name == "plot_terminator_improvement":
            with pytest.raises(ValueError, match="does not support multi-objective"):
                draw(study)
            continue
        assert draw(study, **options) is not None
        if backend == "matplotlib":
            mpl.pyplot.close("all")


@pytest.mark.interop
def test_the_dashboard_reads_names_constraints_and_facts(journal: Path) -> None:
    dashboard = require("optuna_dashboard")
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    app = dashboard.wsgi(optuna.storages.JournalStorage(backend))

    def get(path: str) -> dict[str, object]:
        status: list[str] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x",
                   "SERVER_PORT": "80", "wsgi.url_scheme": "http", "QUERY_STRING": ""}  # fmt: skip
        body = b"".join(app(environ, lambda head, *rest: status.append(head)))
        assert status == ["200 OK"]
        return json.loads(body)

    (summary,) = get("/api/studies")["study_summaries"]
    assert summary["study_name"] == "South Africa"
    detail = get(f"/api/studies/{summary['study_id']}")
    assert detail["objective_names"] == list(OBJECTIVES)
    shown = {each["key"]: each["value"] for each in summary["user_attrs"]}
    assert shown["country"] == "South Africa"
    constraints = [trial["constraints"] for trial in detail["trials"]]
    assert constraints[:3] == [[-0.1], [0.1], [-0.1]]
    assert constraints[12] == [0.3]
