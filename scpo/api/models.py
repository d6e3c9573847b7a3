"""Reward models to use: one model, or the global model steered towards several countries.

    import scpo
    model = scpo.RewardModel.from_pretrained("models/mexico")
    model.score(prompts, responses)

Texts become tokens as in the training: pairs for encoders, turns through the chat template for
decoders, cut as the folder's scpo.json says.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scpo.api.said import Said, check_text, read_list, read_said
from scpo.api.scorer import Rewards, RewardScorer
from scpo.choices import Overlong, Precision
from scpo.config import EncoderConfig, parse_config
from scpo.countries.prefixed import prefixed_prompts
from scpo.countries.scoring import score_texts
from scpo.files.atomic import atomic_folder
from scpo.files.places import local_folder
from scpo.models.devices import named_device, resolve_precision
from scpo.models.export.model_folder import write_model_files
from scpo.models.export.readers import tell_readers
from scpo.models.folder.contract import ModelFacts, write_facts
from scpo.models.loading import load_reward_model
from scpo.models.model_source import ModelSource, find_model
from scpo.models.reward_model import LoadedModel, content_hash
from scpo.tokens.chat_layout import text_bos
from scpo.tokens.encoding import TokenizedTexts, encode_texts
from scpo.tokens.flat_tokens import flatten_tokens
from scpo.tokens.pair_layout import reads_pairs


class RewardModel(RewardScorer):
    """A reward model, loaded and ready to score.

    Attributes:
        country: Whose preferences it represents; None for a global model, or where unknown.
        facts: What its scpo.json says: arm, tau, beta, token budget.
        evaluation: How it orders held-out pairs, as of `scpo.train`; None for a loaded one.
        max_tokens: Longest text, in tokens.
        overlong: Which part a longer text loses.
        num_cut: Texts that were longer, of all that were scored.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        source: ModelSource | None = None,
        max_tokens: int | None = None,
        overlong: Overlong | None = None,
        precision: Precision = "fp32",
        evaluation: Mapping[str, Any] | None = None,
        country: str | None = None,
    ) -> None:
        self.loaded = loaded
        self.source = source
        self.facts = loaded.facts or ModelFacts()
        of_model = {"max_tokens": self.facts.max_tokens, "overlong": self.facts.overlong}
        given = {"max_tokens": max_tokens, "overlong": overlong}
        named = {name: value for name, value in given.items() if value is not None}
        known = {name: value for name, value in of_model.items() if value is not None}
        encoder = parse_config(EncoderConfig, known | named, "RewardModel")
        self.max_tokens = encoder.max_tokens
        self.overlong: Overlong = encoder.overlong
        self.precision: Precision = precision
        self.evaluation = evaluation
        self.country = self.facts.country or country
        self.num_cut = 0
        # What follows refuses now, not at the first score.
        resolve_precision(precision, loaded.model.device)
        prefixed_prompts(self.facts, [""], self.country)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | ModelSource,
        *,
        device: str | torch.device = "auto",
        revision: str | None = None,
        max_tokens: int | None = None,
        overlong: Overlong | None = None,
        precision: Precision = "fp32",
        country: str | None = None,
        trust_remote_code: bool = False,
    ) -> "RewardModel":
        """Load a reward model: a folder, OWNER/NAME on the hub (perhaps @REVISION), s3:// or gs://.

        Args:
            name: Where it lies.
            device: "auto" for the GPU where there is one, else as torch names it.
            revision: Branch, tag or commit on the hub.
            max_tokens: Longest text; None as the model was trained, else 512.
            overlong: truncate_prompt, truncate_left or drop; None as the model was trained.
            precision: Of the matrix products: fp32, bf16, or auto for what the device has.
            country: Whose prompts, for a global model whose prompts name a country.
            trust_remote_code: Let the model bring its own Python code.

        Raises:
            FileNotFoundError: No such model.
            OSError: The hub or the object store does not answer or refuses.
            ValueError: It is no reward model, is damaged, or needs a country; or there is no
                such device here.

        Example:
            >>> model = scpo.RewardModel.from_pretrained(folder)
        """
        place = named_device(device)
        source = find_model(name, revision=revision)
        loaded = load_reward_model(source, trust_remote_code=trust_remote_code)
        options: dict[str, Any] = {"max_tokens": max_tokens, "overlong": overlong}
        options["country"] = country
        return cls(loaded.to(place), source=source, precision=precision, **options)

    def score(self, prompts: Sequence[Said], responses: Sequence[Said]) -> Rewards:
        """Return the reward of each response to its prompt, shape (U,), float32.

        A prompt is a text or a list of messages, a response a text or one message of the
        assistant. Rewards are logits: only their differences mean something.

        Raises:
            ValueError: The lists differ in length, or a message is not text.
            RuntimeError: A reward is not finite.

        Warns:
            UserWarning: Texts are longer than `max_tokens` and are cut.

        Example:
            >>> rewards = model.score(["a b", "a b"], ["good", "bad"])
            >>> rewards.shape, str(rewards.dtype)
            ((2,), 'float32')
        """
        asked, answers = read_said(prompts, responses)
        return self._score(
            encode_texts(
                self.loaded.tokenizer,
                prefixed_prompts(self.facts, asked, self.country),
                answers,
                max_tokens=self.max_tokens,
                overlong=self.overlong,
            )
        )

    @property
    def reads_pairs(self) -> bool:
        """Tell whether it reads a prompt and a response apart; else conversations."""
        return reads_pairs(self.loaded.tokenizer.chat_template)

    def score_rendered(self, texts: Sequence[str]) -> Rewards:
        """Return the reward of conversations that a chat template has rendered, shape (U,).

        They are tokenised as they stand, special tokens of theirs included, after BOS where
        plain text begins with it and they do not; a longer one loses its left.

        Raises:
            ValueError: The model reads pairs, or a text is empty or has half of a surrogate pair.
            RuntimeError: A reward is not finite.

        Example:
            >>> decoder.score_rendered(["<user> a <assistant> good"]).shape
            (1,)
        """
        if self.reads_pairs:
            raise ValueError(
                f"{self!r} reads a prompt and a response apart. Use score(prompts, responses)."
            )
        if self.facts.prompt_prefix is not None:
            raise ValueError(
                f"{self!r} was trained with the prompt prefix {self.facts.prompt_prefix!r}, which "
                "cannot be put into rendered texts. Use score(prompts, responses)."
            )
        whole = [check_text(text) for text in read_list("texts", texts)]
        if not whole:
            return np.zeros(0, dtype=np.float32)
        encoded = self.loaded.tokenizer(whole, add_special_tokens=False, verbose=False)
        bos = text_bos(self.loaded.tokenizer)
        start = [] if bos is None else [bos]
        lists = [ids if ids[:1] == start else start + ids for ids in encoded["input_ids"]]
        if [] in lists:
            raise ValueError(
                f"A text must have a token at least, but text {lists.index([])} (from 0) has "
                "none. Leave it out."
            )
        overlong = np.array([len(ids) > self.max_tokens for ids in lists], dtype=np.bool_)
        ids, offsets = flatten_tokens([ids[-self.max_tokens :] for ids in lists])
        return self._score(TokenizedTexts(ids, np.zeros(len(ids), np.int8), offsets, overlong))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model as a folder that transformers and this package load; return it.

        Raises:
            ValueError: The folder holds something else than such a model, or is a URI.

        Example:
            >>> model.save_pretrained("copy").name
            'copy'
        """
        out = local_folder(folder)
        with atomic_folder(out) as temporary:
            write_model_files(self.loaded, temporary)
            tell_readers(temporary, self.loaded.tokenizer, self.facts)
            write_facts(temporary, self.facts)
        return out

    def _score(self, texts: TokenizedTexts) -> Rewards:
        if texts.num_truncated:
            self.num_cut += texts.num_truncated
            warnings.warn(
                f"Texts over {self.max_tokens} tokens are cut ({self.overlong}); `num_cut` counts "
                "them. Set max_tokens where the model allows more.",
                UserWarning,
                stacklevel=3,
            )
        which = np.arange(len(texts))
        rewards = score_texts(self.loaded, texts, which, precision=self.precision)
        return rewards.astype(np.float32)

    def __repr__(self) -> str:
        told = {
            "country": self.country,
            "arm": self.facts.arm,
            "max_tokens": self.max_tokens,
            "device": str(self.loaded.model.device),
        }
        words = ", ".join(f"{name}={value}" for name, value in told.items() if value is not None)
        return f"RewardModel({self.source or 'in memory'}, {words})"


class Mixture(RewardScorer):
    """The global model steered towards countries: r = r_glo + sum of alpha_c (r_c - r_glo)."""

    def __init__(
        self,
        global_model: RewardModel,
        models: Mapping[str, RewardModel],
        weights: Mapping[str, float],
    ) -> None:
        self.global_model = global_model
        self.models = dict(models)
        self.weights = dict(weights)

    def score(self, prompts: Sequence[Said], responses: Sequence[Said]) -> Rewards:
        """Return the mixed reward of each response to its prompt, shape (U,), float32.

        Raises and warns as each model's own `score`.

        Example:
            >>> scpo.mix(model, {folder: 2.0}).score(["a", "b"], ["good", "bad"]).shape
            (2,)
        """
        rest = 1.0 - math.fsum(self.weights.values())
        parts = [(self.global_model, rest)]
        parts += [(self.models[name], weight) for name, weight in self.weights.items()]
        # A part of weight 0 is left out, so that weight 1 gives that model to the bit.
        asked, answers = read_list("prompts", prompts), read_list("responses", responses)
        total = np.zeros(len(answers))
        for model, weight in parts:
            if weight:
                total += weight * model.score(asked, answers).astype(np.float64)
        if not (np.abs(total) <= np.finfo(np.float32).max).all():
            raise RuntimeError(f"The rewards of {self} are not finite. Give smaller weights.")
        return total.astype(np.float32)

    def __repr__(self) -> str:
        words = " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"Mixture({words} of the way from {self.global_model})"


def mix(
    global_model: RewardModel | str | Path,
    weights: Mapping[str, float],
    models: Mapping[str, RewardModel | str | Path] | None = None,
) -> Mixture:
    """Steer the global model towards countries, each by its own weight.

    r = r_glo + sum over c of alpha_c (r_c - r_glo): 0 is the global model, 1 the country's.

    Args:
        global_model: The model that the countries' continue, or its name.
        weights: alpha of each country, or of each model's name.
        models: The countries' models by the keys of `weights`; a key that is not there names a
            model itself. `scpo.Run.mix` finds a sweep's.

    Raises:
        FileNotFoundError: No such model.
        ValueError: No weight, one that is not finite, or a model that continues another global
            model, so that its rewards have another scale.

    Example:
        >>> half = scpo.mix(model, {folder: 0.5})
        >>> bool(half.score(["a"], ["good"]) == model.score(["a"], ["good"]))
        True
    """
    is_given = isinstance(weights, Mapping) and len(weights) > 0
    if not is_given or not all(
        isinstance(each, Real) and math.isfinite(each) for each in weights.values()
    ):
        raise ValueError(
            f"Weights must be a finite number by each country or model, but got {weights!r:.80}."
        )
    shared = _loaded(global_model)
    given = {name: (models or {}).get(name, name) for name in weights}
    found = {name: _loaded(model) for name, model in given.items()}
    _refuse_other_global(shared, found)
    return Mixture(shared, found, weights)


def _loaded(model: RewardModel | str | Path) -> RewardModel:
    return model if isinstance(model, RewardModel) else RewardModel.from_pretrained(model)


def _refuse_other_global(shared: RewardModel, models: Mapping[str, RewardModel]) -> None:
    """Refuse a model whose scpo.json names another global model."""
    named = {name: model.facts.global_model for name, model in models.items()}
    named = {name: told for name, told in named.items() if told is not None}
    if not named or shared.source is None:
        return
    own = content_hash(shared.source)
    for name, told in named.items():
        if told != own:
            raise ValueError(
                f"{name} continues another global model than {shared.source} (its scpo.json), so "
                "their rewards have different scales. Give the global model that it was trained "
                "from."
            )
