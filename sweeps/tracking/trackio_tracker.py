"""trackio: a project by the sweep's name, a group a run, a run a training.

The place is TRACKIO_DIR's, or that of TRACKIO_SPACE_ID. trackio has one run open at a time, so the
parent is opened where files are attached to it.

Reference: https://huggingface.co/docs/trackio/api, tried with trackio 0.43.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.tracking.sent_values import SentSweep, SentTrial


class TrackioTracker:
    """Opens a run, writes it and ends it, for each training and at last for the sweep."""

    def __init__(self) -> None:
        import trackio
        import trackio.run
        import trackio.utils

        # Seven lines a run, and no option against them; other threads may print meanwhile.
        for module in (trackio, sys.modules["trackio.run"], sys.modules["trackio.utils"]):
            vars(module)["print"] = _print_nothing
        self.trackio: Any = trackio
        self.sweep: SentSweep | None = None

    def open(self, sweep: SentSweep) -> None:
        """Remember the sweep."""
        self.sweep = sweep

    def send_trial(self, trial: SentTrial) -> None:
        """Send a training as a run of the group."""
        run = self._start(trial.name, {**trial.settings, **trial.tags})
        run.log(dict(trial.metrics), step=0)
        self.trackio.finish()

    def send_files(self, files: Sequence[Path]) -> None:
        """Attach files to the parent as one artifact."""
        assert self.sweep is not None
        run = self._start("sweep", dict(self.sweep.settings))
        # Of a run without a value trackio keeps no settings, and does not find it again.
        run.log({"files": len(files)}, step=0)
        artifact = self.trackio.Artifact(f"results-{self.sweep.run}", type="results")
        for file in files:
            artifact.add_file(str(file))
        run.log_artifact(artifact)
        self.trackio.finish()

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


def _print_nothing(*texts: object, **options: object) -> None:
    """Stand in for print."""
