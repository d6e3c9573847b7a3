"""What every reward model of the API can do: score, rank, choose, compare.

A subclass gives rewards in `score`; the rest follows from them.

Legend: U texts.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, NotRequired, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from scpo.api.said import Said, read_list

Rewards: TypeAlias = NDArray[np.float32]


class RankedResponse(TypedDict):
    """A response's place among others, in the form of sentence-transformers."""

    corpus_id: int  # its position in the list that was given
    score: float  # its reward
    text: NotRequired[Said]


class BestResponse(NamedTuple):
    """The response with the highest reward, by its position, and that reward."""

    index: int  # type: ignore[assignment]  # a tuple has a method of this name
    reward: float


class RewardScorer(ABC):
    """Something that rewards responses to prompts; higher is more likely preferred."""

    __name__ = "scpo_reward"  # TRL logs a reward function by its name

    @abstractmethod
    def score(self, prompts: Sequence[Said], responses: Sequence[Said]) -> Rewards:
        """Return the reward of each response to its prompt, shape (U,), float32.

        A prompt is a text or a list of messages, a response a text or one message of the
        assistant.

        Raises:
            ValueError: The lists differ in length, or a message is not text.
            RuntimeError: A reward is not finite.

        Example:
            >>> rewards = model.score(["a b"], ["good"])
            >>> rewards.shape, str(rewards.dtype)
            ((1,), 'float32')
        """

    def rank(
        self,
        prompt: Said,
        responses: Sequence[Said],
        top_k: int | None = None,
        *,
        return_documents: bool = False,
    ) -> list[RankedResponse]:
        """Return the responses to one prompt, the best first, as `CrossEncoder.rank` does.

        Equal rewards keep their order. `top_k` leaves out all but the best; None keeps all.

        Raises:
            ValueError: `top_k < 1`, or as of `score`.

        Example:
            >>> ranked = model.rank("a b", ["bad", "good"])
            >>> sorted(each["corpus_id"] for each in ranked)
            [0, 1]
            >>> ranked[0]["score"] >= ranked[1]["score"]
            True
        """
        if top_k is not None and not (isinstance(top_k, Integral) and top_k >= 1):
            raise ValueError(f"`top_k >= 1` must hold of a whole number, but got {top_k!r}.")
        answers = read_list("responses", responses)
        rewards = self.score([prompt] * len(answers), answers)
        ranked: list[RankedResponse] = []
        for index in np.argsort(-rewards, kind="stable")[:top_k].tolist():
            entry = RankedResponse(corpus_id=index, score=float(rewards[index]))
            if return_documents:
                entry["text"] = answers[index]
            ranked.append(entry)
        return ranked

    def best_of_n(self, prompt: Said, responses: Sequence[Said]) -> BestResponse:
        """Return the position and the reward of the best response; of equals the first.

        Raises:
            ValueError: There is no response, or as of `score`.

        Example:
            >>> best = model.best_of_n("a b", ["bad", "good", "fine"])
            >>> best.reward == float(model.score(["a b"] * 3, ["bad", "good", "fine"]).max())
            True
        """
        answers = read_list("responses", responses)
        if not answers:
            raise ValueError("At least one response must be given to choose from, but got none.")
        (best,) = self.rank(prompt, answers, top_k=1)
        return BestResponse(best["corpus_id"], best["score"])

    def prefer(self, prompt: Said, first: Said, second: Said) -> float:
        """Return the probability, 0..1, that `first` is preferred: sigmoid(r_first - r_second).

        Example:
            >>> both = model.prefer("a", "good", "bad") + model.prefer("a", "bad", "good")
            >>> round(both, 6)
            1.0
        """
        margin = float(np.subtract(*self.score([prompt] * 2, [first, second]).astype(np.float64)))
        small = math.exp(-abs(margin))
        return (1.0 if margin >= 0 else small) / (1.0 + small)

    def __call__(
        self, prompts: Sequence[Said], completions: Sequence[Said], **columns: Any
    ) -> list[float]:
        """Return the reward of each completion: a reward function of TRL's GRPO and RLOO.

        Other columns of the data set, and what the trainer adds, are not read.

        Example:
            >>> len(model(prompts=["a"], completions=["good"], trainer_state=None))
            1
        """
        return [float(reward) for reward in self.score(prompts, completions)]
