"""What of a ranking was tested: the answer to train, or another one by an earlier choice."""

from collections.abc import Sequence

from scpo.text.counts import format_count
from sweeps.ledger.records import TrialRecord
from sweeps.ledger.words import KEPT_GLOBAL, POOLED, TUNED_ARM
from sweeps.ranking.ranking import CountryRanking

_SETTING = ("retention", "strength", "user_strength", "epochs")
_OF_TRAINING = ("learning_rate", "lora_rank")  # finals of whole models have others


def is_stale(records: Sequence[TrialRecord], ranking: CountryRanking) -> bool:
    """Tell whether the final models of a country are of another setting than is recommended."""
    return bool(ranking.settings) and any(
        not _is_trained(final, ranking) for final in _finals(records, ranking.country)
    )


def describe_tests(
    records: Sequence[TrialRecord], rankings: Sequence[CountryRanking]
) -> dict[str, str]:
    """Return what must be said beside the test figures of `scpo_tuned`, by country.

    A country of which nothing is to be said is left out. Where several are pooled, so are theirs.
    """
    notes = {}
    stale = [ranking.country for ranking in rankings if is_stale(records, ranking)]
    if stale and len(rankings) > 1:
        notes[POOLED] = (
            f"The test figure holds models of settings that were recommended before: "
            f"{', '.join(stale)}."
        )
    for ranking in rankings:
        finals = _finals(records, ranking.country)
        before = max((final.tested_before for final in finals), default=0)
        if ranking.country in stale:
            notes[ranking.country] = (
                "The model and the test figure are of a setting that was recommended before. "
                "Resume the sweep to train and test the one recommended now."
            )
        elif before:
            notes[ranking.country] = (
                f"The test users judged {format_count(before, 'other setting')} before this "
                "one, so its test figure is not of a first look."
            )
    return notes


def _finals(records: Sequence[TrialRecord], country: str) -> list[TrialRecord]:
    wanted = ("final", TUNED_ARM, country, "complete")
    return [r for r in records if (r.purpose, r.arm, r.country, r.state) == wanted]


def _is_trained(final: TrialRecord, ranking: CountryRanking) -> bool:
    kept = final.config.get("retention") == KEPT_GLOBAL
    if kept or ranking.trained is None:
        return kept and ranking.trained is None
    searched, names = ranking.trained.record, [*_SETTING]
    ranks = [record.config.get("lora_rank") for record in (final, searched)]
    if ranks[0] != 0 and (ranks[0] is None) == (ranks[1] is None):
        names += _OF_TRAINING
    # Records of before weigh no users.
    return all((final.config.get(n) or 0) == (searched.config.get(n) or 0) for n in names)
