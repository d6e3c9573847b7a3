"""Checks that a training starts from the model that gave the reference rewards.

SCPO continues a reward model. Before the first step a sample of texts goes through the very path
that training uses, and the rewards must be those that were cached. A head made anew, another
template or truncation, dropout, another pooling or precision all show here, and the training
does not start.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scpo.arrays import FloatArray, IntArray
from scpo.choices import ResolvedPrecision
from scpo.tokens.batches import TrainingSet
from scpo.tokens.encoding import TokenizedTexts
from scpo.training.checkpoints import TrainingStopped
from scpo.training.engines import Engine, ScoringEngine, TorchEngine
from scpo.training.forward_passes import (
    BatchInputs,
    Forward,
    forward_inputs,
    pick_rewards,
    plain_forward,
    plan_forwards,
)

SAMPLE_TEXTS = 8
SAMPLE_TOKENS = 4096  # of the rows that share a prompt
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}


def prove_warm_start(engine: Engine, data: TrainingSet, inputs: BatchInputs) -> float:
    """Compare rewards through the training path with the reference; every rank must call.

    The largest difference may be 1e-3 (float32) or 5e-2 (bf16) of the reference rewards' root
    mean square over the sample: texts of every length, padded together, and for a decoder some
    interactions as rows that share a prompt, where training would take them so.

    Returns:
        The largest difference, as a share of that root mean square.

    Raises:
        TrainingStopped: It is larger; the message says what seems to differ.
        ValueError: The data have no reference rewards.
    """
    if data.reference is None:
        raise ValueError("Reference rewards must be given to prove a warm start, but are not.")
    forwards = [plain_forward(sample_texts(data), data.texts.lengths), *_rows(data, inputs)]
    which = np.concatenate([forward.texts for forward in forwards])
    expected = data.reference[which]
    scale = float(np.sqrt(np.mean(expected**2))) or 1.0
    got = rewards_through(engine, data.texts, inputs, forwards)
    difference = float(np.abs(got - expected).max()) / scale
    tolerance = TOLERANCE[engine.optimization.precision]
    # One rank decides for all: a rank that stops alone would leave the others waiting.
    if engine.gather(difference <= tolerance)[0]:
        return difference
    worst = int(np.abs(got - expected).argmax())
    raise TrainingStopped(
        f"{data.country or 'The training'} must start from the model that gave the reference "
        f"rewards, but through the training path rewards differ by {difference:.2g} of their "
        f"size (allowed: {tolerance:g}; for example {got[worst]:.4f}, not {expected[worst]:.4f}). "
        f"{_diagnose(engine, data, inputs, forwards, got, tolerance * scale)}"
    )


class ProvenStarts:
    """Proofs of a model that is trained again and again from the same weights, as in a lane.

    A proof holds for later trainings on texts of the same country, with the same layout and
    precision, as long as every weight of the model equals the one given.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Start without a proof; `weights` are the model's state, on the model's device."""
        self._weights = weights
        self._proofs: list[tuple[tuple[object, ...], float]] = []

    def prove(
        self,
        engine: TorchEngine,
        data: TrainingSet,
        inputs: BatchInputs,
        *,
        texts: TokenizedTexts,
        reference: FloatArray,
    ) -> float:
        """Return the largest difference, measured now or by a proof that holds.

        `texts` and `reference` are the country's, of which `data` are a part.

        Raises:
            TrainingStopped, ValueError: As of `prove_warm_start`.
        """
        if not self._has_weights(engine.model):  # such as those of adapters
            return prove_warm_start(engine, data, inputs)
        for (of_texts, of_rewards, *settings), difference in self._proofs:
            same = of_texts is texts and of_rewards is reference
            if same and settings == [inputs, engine.optimization.precision]:
                return difference
        difference = prove_warm_start(engine, data, inputs)
        proven = (texts, reference, inputs, engine.optimization.precision)
        self._proofs.append((proven, difference))
        return difference

    def _has_weights(self, model: torch.nn.Module) -> bool:
        state = model.state_dict()
        return state.keys() == self._weights.keys() and all(
            torch.equal(weight, self._weights[name]) for name, weight in state.items()
        )


def sample_texts(data: TrainingSet) -> IntArray:
    """Return up to 8 texts of evenly spread lengths, longest first."""
    by_length = np.argsort(-data.texts.lengths, kind="stable")
    count = min(SAMPLE_TEXTS, len(by_length))
    return by_length[np.linspace(0, len(by_length) - 1, count).astype(np.int64)]


def rewards_through(
    engine: ScoringEngine,
    texts: TokenizedTexts,
    inputs: BatchInputs,
    forwards: list[Forward],
    *,
    precision: ResolvedPrecision | None = None,
) -> FloatArray:
    """Return the rewards of some forward passes, as training runs them; every rank must call.

    Their matrix products are of the given precision, by default the training's.
    """
    rewards = []
    with torch.no_grad():
        for forward in forwards:
            batch = forward_inputs(texts, forward, inputs, engine.device)
            given = pick_rewards(engine.rewards(batch, precision=precision), forward)
            rewards.append(given.double().cpu().numpy())
    return np.concatenate(rewards)


def _rows(data: TrainingSet, inputs: BatchInputs) -> list[Forward]:
    """Return one pass of rows that share a prompt, where training has such rows."""
    interactions = np.unique(data.interaction)
    spread = np.linspace(0, len(interactions) - 1, SAMPLE_TEXTS).astype(np.int64)
    pairs = np.flatnonzero(np.isin(data.interaction, interactions[spread]))
    plan = plan_forwards(data, pairs, inputs, max_tokens=SAMPLE_TOKENS)
    return [forward for forward in plan if forward.rows][:1]


def _diagnose(
    engine: Engine,
    data: TrainingSet,
    inputs: BatchInputs,
    forwards: list[Forward],
    got: FloatArray,
    allowed: float,
) -> str:
    """Say what differs, by further forward passes."""
    assert data.reference is not None
    lengths = data.texts.lengths
    which = np.concatenate([forward.texts for forward in forwards])
    expected = data.reference[which]
    again = rewards_through(engine, data.texts, inputs, forwards)
    apart = [plain_forward(which[n : n + 1], lengths) for n in range(len(which))]
    alone = rewards_through(engine, data.texts, inputs, apart)
    wrong = ~(np.abs(got - expected) <= allowed)  # NaN is wrong too
    longest = lengths[which] == lengths.max()
    in_rows = np.arange(len(which)) >= len(forwards[0].texts)
    if np.abs(again - got).max() > allowed / 10:
        return "Dropout is on: two passes over the same texts differ."
    if np.abs(alone - expected).max() <= allowed:
        if not np.any(wrong & ~in_rows):
            return "Shared prompts: a text in a row of its own has its reference reward."
        return "Pooling or padding: alone, each text has its reference reward."
    if not np.any(wrong & ~longest) and not np.all(longest):
        return "Truncation: only the longest texts differ. Was max_tokens or overlong changed?"
    if np.ptp(expected) > 0 and np.ptp(got) > 0 and np.corrcoef(got, expected)[0, 1] > 0.98:
        return (
            "The rewards rank alike: another dtype or a small change of template. "
            "Score again in the precision of training."
        )
    return (
        "The rewards are unrelated: the head is a new one, or the weights or the chat template "
        "are not those of the global model. Check the model folder, and score again."
    )
