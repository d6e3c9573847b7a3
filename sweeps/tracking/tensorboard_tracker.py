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
    """Writes event files of tensorboardX, which needs neither torch nor TensorFlow.

    Each is closed at once, for `flush` leaves what waits in a queue, which a kill would lose.
    """

    def __init__(self) -> None:
        import tensorboardX

        self.make_writer: Any = tensorboardX.SummaryWriter
        self.folder = Path()

    def open(self, sweep: SentSweep) -> None:
        """Write the configuration."""
        self.folder = sweep.folder / _FOLDER
        lines = ["| setting | value |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in sweep.settings.items()]
        with self._write("") as writer:
            writer.add_text("configuration", "\n".join(lines))

    def send_trial(self, trial: SentTrial) -> None:
        """Write the events of a training, in place of earlier ones."""
        shutil.rmtree(self.folder / trial.name, ignore_errors=True)
        metrics = {name: trial.metrics[name] for name in OBJECTIVES if name in trial.metrics}
        with self._write(f".{trial.number:06d}") as writer:
            writer.add_hparams(trial.settings, metrics, name=trial.name, global_step=0)
            for name, value in metrics.items():
                writer.add_scalar(f"{name}/{trial.country}", value, trial.number)
        # Without a suffix its file would have the name of the one that `add_hparams` wrote.
        with self.make_writer(str(self.folder / trial.name), filename_suffix=".more") as writer:
            for name, value in trial.metrics.items():
                if name not in metrics:
                    writer.add_scalar(name, value, 0)
            for name, text in trial.tags.items():
                writer.add_text(name, text)

    def send_files(self, files: Sequence[Path]) -> None:
        """Write figures as images."""
        import numpy as np
        from matplotlib.image import imread

        with self._write(".results") as writer:
            for file in files:
                if file.suffix == ".png":
                    image = np.asarray(imread(file))[..., :3]
                    writer.add_image(file.stem, image, 0, dataformats="HWC")

    def close(self, *, finished: bool) -> None:
        """Do nothing: no file is open."""

    def _write(self, suffix: str) -> Any:
        """Open one of the own event files, which TensorBoard reads in the order of names."""
        return self.make_writer(str(self.folder), filename_suffix=suffix)
