"""trackio: a project by the sweep's name, a group a run, a run a training.

The place is TRACKIO_DIR's, or that of TRACKIO_SPACE_ID. trackio has one run open at a time, so the
parent is opened again where it is written to.

Reference: https://huggingface.co/docs/trackio/api, tried with trackio 0.43.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.tracking.sent_values import SentSweep, SentTrial


class TrackioTracker:
    """Opens a run, writes it and ends it, for the sweep and for each training."""

    def __init__(self) -> None:
        import trackio

        self.trackio = trackio
        self.sweep: SentSweep | None = None

    def open(self, sweep: SentSweep) -> None:
        """Make the parent, or find it."""
        self.sweep = sweep
        self._start("sweep", dict(sweep.settings)).finish()

    def send_trial(self, trial: SentTrial) -> None:
        """Send a training as a run of the group."""
        run = self._start(trial.name, {**trial.settings, **trial.tags})
        run.log(dict(trial.metrics), step=0)
        run.finish()

    def send_files(self, files: Sequence[Path]) -> None:
        """Attach files to the parent as one artifact."""
        assert self.sweep is not None
        run = self._start("sweep", dict(self.sweep.settings))
        artifact = self.trackio.Artifact(f"results-{self.sweep.run}", type="results")
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        run.finish()

    def close(self, *, finished: bool) -> None:
        """Do nothing: no run is open."""

    def _start(self, name: str, config: dict[str, Any]) -> Any:
        assert self.sweep is not None
        return self.trackio.init(
            project=self.sweep.name,
            name=f"{self.sweep.run}-{name}",
            group=self.sweep.run,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
