"""A run's folder as objects: records, ranking and curves as DataFrames, models, studies.

Reading tables needs neither torch nor Ray. Accuracies are fractions 0..1 with the ends of their
95 % interval by user in `low` and `high`; times are in seconds; a pair is two responses that one
user judged.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scpo.arrays import Row
from scpo.data.reading.countries import find_countries
from scpo.files.places import is_remote
from sweeps.config import SweepConfig
from sweeps.curves.output.files import POINT_COLUMNS, point_rows
from sweeps.curves.points import curve_points
from sweeps.ledger.records import TrialRecord, read_records
from sweeps.ledger.words import TUNED_ARM
from sweeps.ranking.ranking import CountryRanking, rank_records
from sweeps.ranking.recommendation import rule_of
from sweeps.ranking.tested import describe_tests
from sweeps.report.arms_table import ARM_COLUMNS, arm_columns, arm_rows
from sweeps.report.leaderboard import LEADERBOARD_COLUMNS, leaderboard_rows
from sweeps.report.report_page import write_report
from sweeps.run.mirror import Mirror
from sweeps.run.pins import check_pins
from sweeps.run.run_folder import read_run_config

if TYPE_CHECKING:
    import optuna

    from scpo.api.models import Mixture, RewardModel
    from scpo.evaluation.labelled_models import ModelsToJudge

_TRIAL_FIRST = "trial_id purpose country arm state seed rung".split()
_TRIAL_LAST = "accuracy low high pairs users part started error".split()


class Run:
    """A sweep that has run, or is running: read from its folder at every call.

    Attributes:
        path: Its folder or URI.
        folder: The folder, for a URI the local copy.
        stopped: Which limit ended the search before the final trainings; None where none did, or
            where it is not known.

    Raises:
        FileNotFoundError: The folder is no sweep's.
        ValueError: A file of it is not the one that the run was begun with.

    Example:
        >>> run = scpo.Run(folder)
        >>> run.countries
        ['Chile', 'Mexico', 'South Africa']
        >>> run.records()[0].purpose
        'search'
        >>> run.trials()["purpose"].unique().tolist()
        ['search', 'curve', 'final']
        >>> run.leaderboard().query("recommended")["country"].tolist()
        ['Chile', 'Mexico', 'South Africa']
        >>> run.arms()[["country", "arm", "accuracy", "low", "high"]].shape[1]
        5
        >>> run.curves()["budget"].unique().tolist()
        [0.125, 0.25, 0.5, 1.0]
    """

    def __init__(self, path: str | Path, *, stopped: str | None = None) -> None:
        self.path = path
        self.stopped = stopped
        self._mirror = Mirror(str(path)) if is_remote(path) else None
        self.folder = Path(path) if self._mirror is None else self._mirror.folder
        if not (self.folder / "config.yaml").is_file():
            raise FileNotFoundError(
                f"No {self.folder / 'config.yaml'}. Is {path} a sweep's folder?"
            )
        check_pins(self.folder)

    @cached_property
    def config(self) -> SweepConfig:
        """Return the resolved configuration."""
        return read_run_config(self.folder)

    @property
    def countries(self) -> list[str]:
        """Return the countries, in the order of the configuration."""
        return list(self.config.countries)

    def records(self) -> list[TrialRecord]:
        """Return the record of every training, with all that is known of it.

        Raises:
            FileNotFoundError: No training has ended yet.
            ValueError: A record is broken.
        """
        return read_records(self.folder)

    def trials(self) -> pd.DataFrame:
        """Return a row for each training: setting, state, counts, times and its accuracy.

        `part` says which users judged it.
        """
        rows = [_trial_row(record) for record in self.records()]
        between = dict.fromkeys(name for row in rows for name in row)
        inner = [name for name in between if name not in (*_TRIAL_FIRST, *_TRIAL_LAST)]
        return _frame(rows, [*_TRIAL_FIRST, *inner, *_TRIAL_LAST])

    def leaderboard(self) -> pd.DataFrame:
        """Return every setting of every country's search, the best rank first.

        Accuracies are of validation users, by which the search chose, so they flatter: `optimism`
        says by how much.
        """
        return _frame(leaderboard_rows(self._rankings()), LEADERBOARD_COLUMNS)

    def arms(self) -> pd.DataFrame:
        """Return the final models by country and arm, on test users, pooled rows first."""
        records = self.records()
        notes = describe_tests(records, self._rankings(records))
        return _frame(arm_columns(arm_rows(records), notes), ARM_COLUMNS)

    def curves(self) -> pd.DataFrame:
        """Return the points of the data-efficiency curves; `seed` is "mean" over seeds."""
        return _frame(point_rows(curve_points(self.records())), POINT_COLUMNS)

    def recommended(self, country: str) -> pd.Series:
        """Return the row of the leaderboard that is recommended for a country.

        Raises:
            ValueError: No such country, or no setting of it could be ranked.

        Example:
            >>> best = run.recommended("Mexico")
            >>> bool(best["low"] <= best["accuracy"] <= best["high"])
            True
        """
        name = self._country(country)
        board = self.leaderboard()
        rows = board[board["country"].eq(name) & board["recommended"].eq(True)]
        if rows.empty:
            raise ValueError(
                f"{name} has no setting to recommend: no trial of its search could be ranked. See "
                "`trials()` for what failed."
            )
        return rows.iloc[0]

    def model(self, country: str, arm: str = TUNED_ARM, **options: Any) -> "RewardModel":
        """Load the final model of a country, by default of the recommended setting.

        Its `evaluation` is that of its record, on test users. `options` are those of
        `RewardModel.from_pretrained`.

        Raises:
            ValueError: No such country or arm, the folder has other bytes than were written, or
                the run has `trust_remote_code`, which these options must repeat.

        Warns:
            UserWarning: The model is of a setting that was recommended before.

        Example:
            >>> run.model("Mexico").evaluation["part"]
            'test'
        """
        from scpo.api.models import RewardModel  # torch: tables do without

        name = self._country(country)
        judged = self.judged()
        models = judged.models
        label = f"{name}/{arm}"
        if label not in models:
            there = ", ".join(models)
            raise ValueError(f"There is no final model {label}; there are {there}.")
        records = self.records()
        if arm == TUNED_ARM and (
            note := describe_tests(records, self._rankings(records)).get(name)
        ):
            warnings.warn(f"{name}: {note}", UserWarning, stacklevel=2)
        self._check_trust(judged, options.get("trust_remote_code", False))
        model = RewardModel.from_pretrained(models[label], **options)
        (final, *_) = [r for r in records if _is_final(r, name, arm)]
        if final.evaluation is not None:
            model.evaluation = final.evaluation.model_dump()
        return model

    def mix(
        self,
        weights: Mapping[str, float],
        arm: str = TUNED_ARM,
        *,
        trust_remote_code: bool = False,
    ) -> "Mixture":
        """Steer the run's global model towards countries; see `scpo.mix` and `model`.

        Example:
            >>> run.mix({"Mexico": 0.5, "Chile": 0.25}).score(["a"], ["good"]).shape
            (1,)
        """
        from scpo.api.models import RewardModel, mix  # torch: tables do without

        judged = self.judged()
        self._check_trust(judged, trust_remote_code)
        shared = RewardModel.from_pretrained(
            judged.global_model,
            revision=judged.revision if isinstance(judged.global_model, str) else None,
            trust_remote_code=trust_remote_code,
        )
        named = {self._country(country): weight for country, weight in weights.items()}
        models = {
            country: self.model(country, arm, trust_remote_code=trust_remote_code)
            for country in named
        }
        return mix(shared, named, models)

    def study(self, country: str) -> "optuna.Study":
        """Return the Optuna study of a country's search.

        Raises:
            ValueError: No such country.
            FileNotFoundError: The run has no studies.

        Example:
            >>> study = run.study("Mexico")
        """
        from sweeps.search.open_study import open_study  # Optuna: tables do without

        return open_study(self.folder, self._country(country))

    @property
    def report(self) -> Path:
        """Return the path of the run's page, which is written where it is missing."""
        page = self.folder / "report.html"
        return page if page.is_file() else write_report(self.folder, rule=rule_of(self.config))

    def _rankings(self, records: Sequence[TrialRecord] | None = None) -> list[CountryRanking]:
        given = self.records() if records is None else records
        return rank_records(given, rule=rule_of(self.config))

    def _check_trust(self, judged: "ModelsToJudge", is_trusted: bool) -> None:
        """Let no file ask for what runs code: a run may be somebody else's."""
        if judged.trust_remote_code and not is_trusted:
            raise ValueError(
                f"The configuration of {self.path} has trust_remote_code, so its models may run "
                "code of their own here. If you trust who made this run, give "
                "trust_remote_code=True."
            )

    def _country(self, label: str) -> str:
        return find_countries([label], self.countries)[0]

    def judged(self) -> "ModelsToJudge":
        """Return the final models, the global model, and the data and users that judge them.

        Raises:
            ValueError: No final training has left a model, or a file is not the one that was
                written.

        Example:
            >>> sorted(run.judged().models)
            ['Chile/scpo_tuned', 'Mexico/scpo_tuned', 'South Africa/scpo_tuned']
        """
        from sweeps.run.models_of_run import models_of_run  # torch: tables do without

        if self._mirror is not None:
            self._mirror.fetch_models()
        return models_of_run(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, countries={self.countries})"


def _is_final(record: TrialRecord, country: str, arm: str) -> bool:
    """Tell whether a record is of a final training that left a model."""
    known = (record.purpose, record.country, record.arm, record.state)
    return known == ("final", country, arm, "complete") and record.model_path is not None


def _trial_row(record: TrialRecord) -> Row:
    row: Row = {name: getattr(record, name) for name in (*_TRIAL_FIRST, "error")}
    for part in (record.config, record.setting, record.counts, record.times):
        row |= part
    if record.constraints:  # their values are not the drop that `leaderboard` has
        row["feasible"] = record.feasible
    if record.evaluation is not None:
        row |= {**record.evaluation.overall.model_dump(), "part": record.evaluation.part}
    return row


def _frame(rows: Iterable[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a DataFrame of these columns, empty where there are none."""
    return pd.DataFrame(list(rows), columns=list(columns))
