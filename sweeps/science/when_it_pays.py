"""The map of when SCPO pays, as a command: cells of worlds, CSV and figures.

The map spans cultural shift, outlier share, labelled pairs and the global model's quality; each
of its cells is computed by `map_cells` and kept in a file. Beside it stands a sensitivity study:
the cell CENTRE with one thing changed at a time, so that a reader sees what the map depends on
that its axes do not show.
"""

from dataclasses import dataclass

from sweeps.science.world_arms import Tuning
from sweeps.science.worlds import WorldSettings

CENTRE = WorldSettings(num_users=72, shift=0.75, outlier_share=0.3)


@dataclass(frozen=True)
class MapAxes:
    """Values of the map's axes, and how much work a cell is.

    Attributes:
        shifts: Cultural shifts.
        outlier_shares: Shares of outlier users.
        num_users: Users of the country, 12 pairs each.
        global_cosines: Cosines of the global head to the consensus.
        num_worlds: Worlds of each cell.
        tuning: How arms are tuned.
    """

    shifts: tuple[float, ...]
    outlier_shares: tuple[float, ...]
    num_users: tuple[int, ...]
    global_cosines: tuple[float, ...]
    num_worlds: int
    tuning: Tuning


SIZES = {
    "small": MapAxes((0.0, 1.0), (0.0, 0.3), (24,), (1.0,), 6, Tuning(num_settings=16)),
    "large": MapAxes(
        shifts=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
        outlier_shares=(0.0, 0.1, 0.2, 0.3, 0.4),
        num_users=(8, 24, 72, 216),
        global_cosines=(0.6, 0.8, 1.0),
        num_worlds=40,
        tuning=Tuning(),
    ),
}
