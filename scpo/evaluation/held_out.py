"""How well a reward model orders one country's held-out pairs, as plain values for a record.

Beside the model's accuracy in three layers stand, on the same pairs, the global model and the
length baseline (longer response wins), each with its interval by user bootstrap, and the counts
per user that a paired comparison needs.
"""

from typing import Any

from scpo.arrays import FloatArray
from scpo.countries.country_data import CountryData
from scpo.statistics.accuracy import counts_by_user, layer_accuracies


def evaluate_margins(margin: FloatArray, data: CountryData, part: str) -> dict[str, Any]:
    """Evaluate a model's margins m of all pairs of one part, "validation" or "test".

    Raises:
        ValueError: A margin is not finite, the number of margins is wrong, or the part has no
            pairs.
    """
    which = data.pairs_in(part)
    user = data.user[which]
    reference = data.reference_margin[which]
    margins = {"model": margin, "global": reference, "length": data.length_margin[which]}
    found = layer_accuracies(margins, reference, user)
    return {
        "part": part,
        **{layer: accuracy.as_dict() for layer, accuracy in found["model"].items()},
        "global_overall": found["global"]["overall"].as_dict(),
        "length": found["length"]["overall"].as_dict(),
        "by_user": counts_by_user(margin, user),
        "global_by_user": counts_by_user(reference, user),
        "distinctive_by_user": counts_by_user(margin[reference < 0], user[reference < 0]),
    }
