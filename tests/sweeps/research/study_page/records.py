"""Records as a study makes them, with the counts given."""

from sweeps.ledger.records import TrialRecord


def make_record(
    country: str,
    arm: str,
    correct: list[int],
    *,
    seed: int = 0,
    users: list[str] | None = None,
    trained: float = 40.0,
    name: str | None = None,
    globally: list[int] | None = None,
) -> TrialRecord:
    """Users with 10 pairs each; a layer of 4 distinctive and 6 consensus pairs a user."""
    users = [f"{country}/{number}" for number in range(len(correct))] if users is None else users
    total = 10 * len(users)
    block = {"low": None, "high": None, "users": len(users), "ties": 0}
    share = sum(correct) / total
    layer = {"accuracy": share, **block}
    counts = {"users": users, "pairs": [10] * len(users), "correct": correct}
    evaluation = {
        "part": "validation",
        "overall": {**layer, "pairs": total},
        "distinctive": {**layer, "pairs": 4 * len(users)},
        "consensus": {**layer, "pairs": 6 * len(users)},
        "global_overall": {**layer, "pairs": total},
        "length": {**layer, "pairs": total},
        "by_user": counts,
        "global_by_user": {**counts, "correct": globally or correct},
    }
    return TrialRecord.model_validate(
        {
            "trial_id": name or f"{country}-{arm}-{seed}",
            "purpose": "curve",
            "country": country,
            "arm": arm,
            "state": "complete",
            "config": {},
            "config_hash": "0",
            "seed": seed,
            "evaluation": evaluation,
            "counts": {"pairs_trained": trained},
            "objectives": {"pairs_trained": trained},
        }
    )


MEXICO, CHILE = {"globally": [5, 5]}, {"globally": [2, 4]}
RECORDS = [
    make_record("Mexico", "global", [5, 5], trained=0.0, **MEXICO),
    make_record("Mexico", "full", [6, 6], **MEXICO),
    make_record("Mexico", "full", [8, 6], seed=1, **MEXICO),
    make_record("Mexico", "scpo", [8, 8], trained=20.0, **MEXICO),
    make_record("Mexico", "scpo", [10, 8], seed=1, trained=30.0, **MEXICO),
    make_record("Mexico", "length", [7, 7], trained=0.0, **MEXICO),
    make_record("Chile", "global", [2, 4], trained=0.0, **CHILE),
    make_record("Chile", "full", [5, 9], **CHILE),
    make_record("Chile", "full", [7, 9], seed=1, **CHILE),
    make_record("Chile", "scpo", [6, 8], trained=10.0, **CHILE),
    make_record("Chile", "scpo", [6, 8], seed=1, trained=10.0, **CHILE),
    make_record("Chile", "length", [1, 1], trained=0.0, **CHILE),
]
