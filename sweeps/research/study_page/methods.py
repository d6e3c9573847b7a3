"""How a data set's arms were trained and judged, in a few sentences for the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.config import SweepConfig
from sweeps.ledger.records import TrialRecord
from sweeps.research.study.study_config import FrozenConfig, StudyConfig, TunedConfig

_POOLED = {
    "mean": "mean of the last hidden states",
    "head": "what its own classifier would read",
}


def describe_heads(
    config: StudyConfig, data_set: FrozenConfig, cells: Sequence[Mapping[str, Any]]
) -> str:
    """Return how heads were trained, given the results of `compute_frozen_cell`."""
    heads = data_set.heads
    pools = [cell["global_pairs"] for cell in cells]
    whose = (
        "the countries that are not steered to"
        if data_set.pool == "not steered"
        else "all other countries"
    )
    without = " but those against the country's own answer" if data_set.against_column else ""
    return (
        f"Heads on frozen features of {Path(config.backbone).name} "
        f"({_POOLED[config.features.pooling]}); {config.folds} folds by "
        f"{data_set.unit}, {len(config.seeds)} seeds. Each country has a global head of its own, "
        f"trained from nothing on pairs of {whose}{without} ({_range(pools)} "
        f"pairs, at most {heads.max_global_pairs:,} at random). Arms start from it: tau "
        f"{heads.tau:g}, beta {heads.beta:g}, pull of {', '.join(f'{v:g}' for v in heads.l2)} "
        f"chosen in {heads.inner_folds} inner folds, dealt {heads.inner_deals} times. "
        "`scpo_tuned` is `full`, or the global head where that is shown to be better, unless one "
        f"of {heads.num_settings} settings of pull, retention and strength gains more than "
        f"{heads.caution:g} standard errors on it there. "
        + _annotators(data_set)
        + _scales([cell["margin_scale"] for cell in cells])
    )


def _annotators(data_set: FrozenConfig) -> str:
    """Return who labels, where these are made up."""
    made_up = data_set.annotators
    if made_up is None:
        return ""
    what = "the other response"
    if made_up.choice == "against global":
        what = "the response that the global head likes less"
    return (
        f"Annotators are simulated: each of {made_up.number} labels questions of its own, and "
        f"{100 * made_up.unreliable:g} % of them choose {what}. Arms train on what they say; the "
        f"pairs as they are judge. "
    )


def describe_tuning(
    config: StudyConfig, data_set: TunedConfig, sweep: SweepConfig, records: Sequence[TrialRecord]
) -> str:
    """Return how models were fine-tuned, given the records of `run_fine_tuned`."""
    training = sweep.training
    return (
        f"Full fine-tuning of {Path(str(sweep.global_model.backbone)).name}; "
        f"{config.tuned_folds} folds by {data_set.unit}, {len(config.seeds)} seeds. One global "
        "model, trained on the countries that are not steered to and a further pairs file. Arms "
        f"go on from it: tau {sweep.tau:g}, beta {sweep.beta:g}, learning rate "
        f"{training.learning_rate:g}, {training.epochs:g} epochs, {training.pairs_per_step} pairs "
        f"a step, texts of {sweep.encoder.max_tokens} tokens at most. `scpo_tuned` takes "
        "retention and strength from heads on the global model's features, chosen in "
        f"{data_set.heads.inner_folds} inner folds by the same rule as for heads: plain "
        "fine-tuning, unless a setting is surely better. "
        + _scales([scale for r in records if (scale := r.setting.get("margin_scale"))])
    )


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _scales(scales: Sequence[float]) -> str:
    if not scales:
        return ""
    return (
        f"The global margins have standard deviations of {min(scales):.2f} to {max(scales):.2f}: "
        "where beta and logit(tau) are far above, nearly all pairs are kept and weighed alike."
    )
