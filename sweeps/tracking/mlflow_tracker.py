"""MLflow: an experiment by the sweep's name, a run with nested runs.

The place is MLFLOW_TRACKING_URI's, or MLflow's own. Runs are found again by the tags that they
were made with, so nothing of MLflow's need be kept.

Reference: https://mlflow.org/docs/latest/ml/tracking/, tried with mlflow 3.17.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.tracking.sent_values import SentSweep, SentTrial

_PARENT = "mlflow.parentRunId"
_RUN, _TRIAL = "scpo.run", "scpo.trial"
_PAGE = 1000
_MOST_PARAMS = 100  # of a call
_STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class MlflowTracker:
    """Sends by MLflow's client, which leaves the process's active run alone."""

    def __init__(self) -> None:
        # Else two lines a run on standard output, in the midst of what --json writes there.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import mlflow

        self.mlflow = mlflow
        self.client: Any = mlflow.MlflowClient()
        self.experiment = self.parent = ""
        self.children: dict[str, str] = {}  # run ids by trial

    def open(self, sweep: SentSweep) -> None:
        """Make the experiment and the parent run, or find them."""
        found = self.client.get_experiment_by_name(sweep.name)
        if found is None:
            self.experiment = self.client.create_experiment(sweep.name)
        else:
            self.experiment = found.experiment_id
        parents = self._runs_with(_RUN, sweep.run)
        if parents:
            self.parent = parents[0].info.run_id
            for run in self._runs_with(_PARENT, self.parent):
                if trial := run.data.tags.get(_TRIAL):  # others may have runs below the sweep's
                    self.children[trial] = run.info.run_id
            self.client.update_run(self.parent, status="RUNNING")
            return
        name = f"{sweep.name} {sweep.run}"
        run = self.client.create_run(self.experiment, tags={_RUN: sweep.run}, run_name=name)
        self.parent = run.info.run_id
        self._log(self.parent, sweep.settings, {}, {})

    def send_trial(self, trial: SentTrial) -> None:
        """Make or complete the nested run of a training."""
        started = trial.started_ms or round(1000 * time.time())
        if trial.name not in self.children:
            run = self.client.create_run(
                self.experiment,
                start_time=started,
                tags={_PARENT: self.parent, _TRIAL: trial.name},
                run_name=trial.name,
            )
            self.children[trial.name] = run.info.run_id
        run_id = self.children[trial.name]
        self._log(run_id, trial.settings, trial.metrics, trial.tags)
        ended = started + round(1000 * trial.wall_s)
        self.client.set_terminated(run_id, _STATES[trial.state], end_time=ended)

    def send_files(self, files: Sequence[Path]) -> None:
        """Attach files to the parent run."""
        for file in files:
            self.client.log_artifact(self.parent, str(file))

    def close(self, *, finished: bool) -> None:
        """End the parent run."""
        self.client.set_terminated(self.parent, "FINISHED" if finished else "KILLED")

    def _runs_with(self, tag: str, value: str) -> list[Any]:
        token: str | None = None
        runs: list[Any] = []
        while True:
            page = self.client.search_runs(
                [self.experiment],
                filter_string=f"tags.`{tag}` = '{value}'",
                max_results=_PAGE,
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _log(
        self,
        run_id: str,
        settings: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        entities, now = self.mlflow.entities, round(1000 * time.time())
        held = self.client.get_run(run_id).data.params  # MLflow lets no param change
        params = [
            entities.Param(key, str(value)) for key, value in settings.items() if key not in held
        ]
        for at in range(0, max(1, len(params)), _MOST_PARAMS):
            self.client.log_batch(run_id, params=params[at : at + _MOST_PARAMS])
        self.client.log_batch(
            run_id,
            metrics=[entities.Metric(key, value, now, 0) for key, value in metrics.items()],
            tags=[entities.RunTag(key, value) for key, value in tags.items()],
        )
