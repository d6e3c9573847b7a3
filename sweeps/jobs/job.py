"""One training as a job: a country, an arm or a point of the search space, and its numbers.

A job is plain values, so it travels as a Tune configuration and its hash identifies it in the
ledger. Processes that only pass jobs on import this module, and torch not with it.
"""

from dataclasses import asdict, dataclass, replace

from scpo.files.atomic import hash_values
from sweeps.ledger.records import Purpose, TrialRecord
from sweeps.ledger.words import BASELINE, KEPT_GLOBAL, UNTRAINED

RECORDED = (
    "retention strength user_strength tau beta learning_rate epochs lora_rank budget folds"
).split()
# They do not change the training.
_NOT_IDENTITY = ("trial_id", "save_to", "rungs", "exempt", "tested_before")


@dataclass(frozen=True)
class Job:
    """One training to run."""

    trial_id: str  # unique in its run
    purpose: Purpose  # a final job looks at the test users
    country: str  # the country to steer to
    arm: str  # an arm's name, or `scpo_tuned` for a point of the search space
    learning_rate: float  # peak
    epochs: float  # passes over the pairs trained on
    seed: int  # of the order of the data, of the budget and of random choices
    # Share of pairs kept, of a point of the search space; `KEPT_GLOBAL` trains nothing.
    retention: float | None = None
    strength: float | None = None  # weighting strength, of the same
    user_strength: float | None = None  # of the same, or of the arm `user`; None: 0, or as it says
    tau: float | None = None  # filter threshold of a named arm
    beta: float | None = None  # weighting temperature of a named arm
    budget: float = 1.0  # share of the country's labelled training pairs that may be used, nested
    max_consensus_drop: float = 1.0  # bound of the constraint
    min_pairs: int = 1  # fewer pairs than this are refused
    # Of low-rank adapters; None: as the training configuration says; 0: none whatever it says.
    lora_rank: int | None = None
    folds: int = 1  # times the setting is trained, each judged on other users; 1 for the split
    save_to: str | None = None  # folder or URI for the trained model
    rungs: tuple[int, ...] = ()  # labelled pairs at which the trial may be stopped, ascending
    exempt: bool = False  # never stopped early: a first trial, whose rungs are a curve
    tested_before: int = 0  # other settings of this name that the test users judged before

    @property
    def is_untrained(self) -> bool:
        """Whether nothing is trained: the global model or the length judges, or is kept."""
        return self.arm in UNTRAINED or self.retention == KEPT_GLOBAL

    @property
    def config(self) -> dict[str, float | int | str | None]:
        """Return what was set, for the record."""
        return {name: getattr(self, name) for name in RECORDED}

    @property
    def config_hash(self) -> str:
        """Return 16 hexadecimal digits that identify the job, whatever its trial_id."""
        key = {k: v for k, v in asdict(self).items() if k not in _NOT_IDENTITY}
        return hash_values(key)[:16]

    def is_of(self, record: TrialRecord) -> bool:
        """Tell whether a record is of this training, under whatever name.

        Finals belong to a setting: another recommendation is another training. Values are
        compared, not hashes, which depend on the version.
        """
        if not self.is_in_place_of(record):
            return False
        mine, theirs = (
            {name: value for name, value in config.items() if value is not None}
            for config in (
                {**self.config, "user_strength": self.user_strength or None},  # as older records
                {"budget": 1.0, "folds": 1, **record.config},
            )
        )
        if theirs.get("user_strength") == 0:
            del theirs["user_strength"]
        return mine == theirs

    def equals_full(self, full: "Job") -> bool:
        """Tell whether this point of the search is the same training as one of the arm `full`."""
        is_plain = (self.retention, self.strength, self.user_strength or 0) == (1, 0, 0)
        names = ("trial_id", "arm", "retention", "strength", "user_strength", "tau", "beta")
        as_full = {name: getattr(full, name) for name in (*names, "save_to", "tested_before")}
        return is_plain and full.arm == BASELINE and replace(self, **as_full) == full

    def is_in_place_of(self, record: TrialRecord) -> bool:
        """Tell whether a record is of this training but for the setting."""
        kind = (record.purpose, record.country, record.arm, record.seed)
        return (self.purpose, self.country, self.arm, self.seed) == kind

    @property
    def part(self) -> str:
        """Return the users that judge the model."""
        return "test" if self.purpose == "final" else "validation"


def rung_id(trial_id: str, rung: int) -> str:
    """Return the trial id of a trial's rung."""
    return f"{trial_id}@{rung}"
