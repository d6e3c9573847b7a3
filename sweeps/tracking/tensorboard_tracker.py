"""TensorBoard: event files in the run's folder, one folder a training below the sweep's.

The sweep's own scalars are each country's accuracies by the number of the record; the HPARAMS tab
has a line a training. Figures are attached as images; other files stay where they are.

Reference: https://tensorboardx.readthedocs.io, tried with tensorboardX 2.6 and tensorboard 2.21.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.ledger.words import OBJECTIVES
from sweeps.tracking.sent_values import SentSweep, SentTrial

_FOLDER = "tensorboard"


class TensorboardTracker:
    """Writes event files of tensorboardX, which needs neither torch nor TensorFlow."""

    def __init__(self) -> None:
        import tensorboardX

        self.make_writer: Any = tensorboardX.SummaryWriter
        self.folder = Path()
        self.writer: Any = None

    def open(self, sweep: SentSweep) -> None:
        """Begin the sweep's own event file."""
        self.folder = sweep.folder / _FOLDER
        self.writer = self.make_writer(str(self.folder))
        lines = ["| setting | value |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in sweep.settings.items()]
        self.writer.add_text("configuration", "\n".join(lines))

    def send_trial(self, trial: SentTrial) -> None:
        """Write the events of a training, in place of earlier ones."""
        shutil.rmtree(self.folder / trial.name, ignore_errors=True)
        metrics = {name: trial.metrics[name] for name in OBJECTIVES if name in trial.metrics}
        self.writer.add_hparams(trial.settings, metrics, name=trial.name, global_step=0)
        # Without a suffix its file would have the name of the one that `add_hparams` wrote.
        with self.make_writer(str(self.folder / trial.name), filename_suffix=".more") as writer:
            for name, value in trial.metrics.items():
                if name not in metrics:
                    writer.add_scalar(name, value, 0)
            for name, text in trial.tags.items():
                writer.add_text(name, text)
        for name, value in metrics.items():
            self.writer.add_scalar(f"{name}/{trial.country}", value, trial.number)
        self.writer.flush()

    def send_files(self, files: Sequence[Path]) -> None:
        """Write figures as images."""
        import numpy as np
        from matplotlib.image import imread

        for file in files:
            if file.suffix == ".png":
                image = np.asarray(imread(file))[..., :3]
                self.writer.add_image(file.stem, image, 0, dataformats="HWC")

    def close(self, *, finished: bool) -> None:
        """End the sweep's own event file."""
        self.writer.close()
