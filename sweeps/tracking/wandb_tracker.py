"""Weights & Biases: a project by the sweep's name, a group a run, a run a training.

The place is that of WANDB_MODE, WANDB_BASE_URL and the login, as always with wandb; its local
files lie in the run's folder. Ids are made of the run's and the trial's, so a training that is
sent again is the same run.

Reference: https://docs.wandb.ai/models/runs/multiple-runs-per-process, tried with wandb 0.31.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.tracking.sent_values import SentSweep, SentTrial


class WandbTracker:
    """Holds the parent's run open, and each child's while it is sent."""

    def __init__(self) -> None:
        import wandb

        # Else, without a login, it asks on the terminal, in the midst of a sweep.
        wandb.setup(wandb.Settings(silent=True))
        self.wandb = wandb
        self.sweep: SentSweep | None = None
        self.parent: Any = None

    def open(self, sweep: SentSweep) -> None:
        """Start the parent's run, or resume it."""
        self.sweep = sweep
        self.parent = self._start(f"{sweep.name} {sweep.run}", "", "sweep", dict(sweep.settings))

    def send_trial(self, trial: SentTrial) -> None:
        """Send a training as a run of the group, and its accuracy to the parent."""
        purpose = str(trial.settings["purpose"])
        config = {**trial.settings, **trial.tags}
        run = self._start(trial.name, f"-{trial.name}", purpose, config)
        run.log(dict(trial.metrics))
        run.finish(exit_code=1 if trial.state == "failed" else 0)
        accuracy = trial.metrics.get("validation_accuracy")
        if accuracy is not None:
            self.parent.log({f"validation_accuracy/{trial.country}": accuracy})

    def send_files(self, files: Sequence[Path]) -> None:
        """Attach files to the parent's run as one artifact."""
        assert self.sweep is not None
        artifact = self.wandb.Artifact(f"results-{self.sweep.run}", type="results")
        for file in files:
            artifact.add_file(str(file), name=file.name)
        self.parent.log_artifact(artifact)

    def close(self, *, finished: bool) -> None:
        """End the parent's run."""
        self.parent.finish(exit_code=0 if finished else 1)

    def _start(self, name: str, end: str, job_type: str, config: dict[str, Any]) -> Any:
        assert self.sweep is not None
        offline = self.wandb.setup().settings.mode == "offline"
        return self.wandb.init(
            project=re.sub(r"[^A-Za-z0-9._-]", "-", self.sweep.name),
            group=self.sweep.run,
            id=re.sub(r"[^A-Za-z0-9._-]", "-", f"{self.sweep.run}{end}"),
            name=name,
            job_type=job_type,
            config=config,
            dir=str(self.sweep.folder),
            resume=None if offline else "allow",  # which cannot be known offline
            reinit="create_new",
            save_code=False,
            settings=self.wandb.Settings(
                silent=True, console="off", x_disable_stats=True, x_disable_meta=True
            ),
        )
