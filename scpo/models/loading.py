"""Reward models as Hugging Face sequence classifiers with one output, in and out.

In comes a model name or folder (whole, or a LoRA adapter that names its base), out comes a
float32 model whose dropout is off. A checkpoint without a trained reward head is refused unless
a new head is asked for: SCPO *continues* a reward model, and a silently fresh head is the
classic way to lose it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from scpo.choices import Pooling
from scpo.models.classifier import adapt_classes, is_backbone
from scpo.models.fit_together import check_padding, check_vocabulary
from scpo.models.folder.checks import (
    TOKENIZER_FILES,
    check_model_files,
    check_texts,
    check_weights,
    has_tokenizer,
    in_one_line,
)
from scpo.models.folder.contract import verify_folder
from scpo.models.model_source import ADAPTER_CONFIG, ModelSource, find_model
from scpo.models.reward_model import LoadedModel, quiet_peft, quiet_transformers, require_peft

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def load_reward_model(
    model: str | Path | ModelSource,
    *,
    revision: str | None = None,
    new_head: bool = False,
    head_seed: int = 0,
    head_pooling: Pooling = "head",
    as_stored: bool = False,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a reward model in float32, from safetensors only, with dropout off.

    An adapter loads its base too. `new_head` puts a fresh reward head, of `head_seed`, on a
    backbone; without it a missing head is refused. `head_pooling` "mean" puts it on the mean of
    the last hidden states, "head" on what the class reads by itself. `as_stored` keeps the
    precision of the files, so that the weights stay mapped there. `trust_remote_code` lets a
    checkpoint bring Python code.

    Raises:
        FileNotFoundError: No such model, or an adapter without safetensors.
        OSError: The hub or the object store does not answer or refuses.
        RuntimeError: It is an adapter, and peft is not installed.
        ValueError: The checkpoint lacks weights (such as the head), or has another number of
            outputs than one, or no padding token; a file is damaged or not the one that was
            exported; tokenizer and model do not fit; an adapter has learned tokens; a new head
            was asked of an adapter, or on a mean that transformers would not load back.
    """
    source = find_model(model, revision=revision)
    if source.base is not None:
        if new_head:
            raise ValueError(
                f"{source}: a new head needs a whole model, but this is an adapter. "
                "Export it merged (`merge=True`) and take that folder."
            )
        return _load_adapter(source, source.base, trust_remote_code=trust_remote_code)
    folder = source.folder()
    facts = verify_folder(folder)
    code = {"trust_remote_code": trust_remote_code}
    loaded, _ = _load_classifier(
        source,
        new_head=new_head,
        head_seed=head_seed,
        head_pooling=head_pooling,
        as_stored=as_stored,
        **code,
    )
    tokenizer = _fit_tokenizer(source, folder, loaded, **code)
    loaded.name_or_path = source.name
    return LoadedModel(loaded.eval(), tokenizer, source.commit, facts=facts, **code)


def _load_classifier(
    source: ModelSource,
    *,
    new_head: bool,
    head_seed: int,
    head_pooling: Pooling = "head",
    as_stored: bool = False,
    trust_remote_code: bool,
) -> tuple[PreTrainedModel, list[str]]:
    """Return the plain class with its weights, and the names of those of a fresh head."""
    folder = source.folder()
    check_model_files(folder)
    made: dict[str, Any] = {}
    if new_head:
        made = {"num_labels": 1, "ignore_mismatched_sizes": True}
        if head_pooling == "mean":
            made |= _mean_setting(source, folder, trust_remote_code=trust_remote_code)
    with (
        quiet_transformers(),
        torch.random.fork_rng(devices=[]),
        in_one_line(f"{source}: transformers cannot load it as a sequence classifier"),
    ):
        torch.manual_seed(head_seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype="auto" if as_stored else torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
            **made,
        )
    mismatched = {key for key, *_ in info["mismatched_keys"]}  # a head of other size
    fresh = sorted({*info["missing_keys"], *mismatched})
    _check_loaded(source, model, fresh, info["unexpected_keys"], new_head=new_head)
    return model.eval(), fresh


def _mean_setting(source: ModelSource, folder: Path, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return the setting by which a class scores the mean, wherever it is loaded.

    Raises:
        ValueError: It has none.
    """
    with in_one_line(f"{source}: transformers cannot read its config.json"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if not hasattr(config, "classifier_pooling"):
        raise ValueError(
            f"{source}: transformers cannot load a {config.model_type} model back with a head on "
            "the mean of its states (so of BERT, RoBERTa, DeBERTa and decoders), but a modernbert "
            "or eurobert one. Take such a backbone, or leave global_model.pooling out."
        )
    return {"classifier_pooling": "mean"}


def _fit_tokenizer(
    source: ModelSource, folder: Path, model: PreTrainedModel, *, trust_remote_code: bool
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, and fit the model to it in place.

    Raises:
        ValueError: It has no words, no padding token or tokens that the model does not know, or
            transformers would score padding with it.
    """
    check_texts(folder)
    if not has_tokenizer(folder):
        raise ValueError(
            f"{folder} holds no tokenizer ({', '.join(TOKENIZER_FILES)}), so every word would be "
            "unknown. Put the tokenizer's files of this model beside its weights."
        )
    with in_one_line(f"{folder}: its tokenizer (tokenizer.json) cannot be read"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        tokenizer("")  # some values of tokenizer_config.json are read at the first text only
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"{source}: a padding token must be set, but the tokenizer has none. "
            "Set pad_token in its tokenizer_config.json (any unused token but eos)."
        )
    check_vocabulary(str(source), model, tokenizer)
    check_padding(str(source), model, tokenizer)
    adapt_classes(model, tokenizer.pad_token_id)
    return tokenizer


def _load_adapter(
    source: ModelSource, base_source: ModelSource, *, trust_remote_code: bool
) -> LoadedModel:
    """Return base and adapter; the head is the adapter's, so the base may lack one."""
    lora = require_peft()
    folder = source.folder()
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {ADAPTER_WEIGHTS}, and pickled weights are not read. "
            "Save the adapter with safe_serialization=True."
        )
    check_weights(folder / ADAPTER_WEIGHTS)
    facts = verify_folder(folder)
    verify_folder(base_source.folder())
    code = {"trust_remote_code": trust_remote_code}
    base, fresh = _load_classifier(
        base_source, new_head=True, head_seed=0, trust_remote_code=trust_remote_code
    )
    words = folder if has_tokenizer(folder) else base_source.folder()
    tokenizer = _fit_tokenizer(source, words, base, **code)
    base.name_or_path = base_source.name
    with in_one_line(f"{folder}: peft cannot put the adapter on {base_source}"):
        config = lora.PeftConfig.from_pretrained(folder)
    if config.is_prompt_learning:
        raise ValueError(
            f"{source}: an adapter must change weights, as LoRA does, but "
            f"{config.peft_type.value} ({ADAPTER_CONFIG}) puts learned tokens before a text. "
            "Train one of another type."
        )
    config.inference_mode = False  # the adapter trains on
    with in_one_line(f"{folder}: peft cannot put the adapter on {base_source}"):
        with torch.random.fork_rng(devices=[]), quiet_peft():
            model = lora.get_peft_model(base, config)
        weights = load_file(folder / ADAPTER_WEIGHTS)
    needed = {*lora.get_peft_model_state_dict(model, save_embedding_layers=False)}
    needed |= {f"base_model.model.{key}" for key in fresh}
    if missing := sorted(needed - weights.keys()):
        raise ValueError(
            f"{source}: the adapter lacks {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}, so these weights would be random. "
            "Export it again from the run that trained it."
        )
    with in_one_line(f"{folder / ADAPTER_WEIGHTS} does not fit {base_source}"):
        lora.set_peft_model_state_dict(model, weights)
    return LoadedModel(model.eval(), tokenizer, base_source.commit, facts=facts, **code)


def _check_loaded(
    source: ModelSource,
    model: PreTrainedModel,
    missing: list[str],
    unused: Sequence[str],
    *,
    new_head: bool,
) -> None:
    """Refuse a checkpoint that did not fill the model, or that scores more than one number."""
    if missing and not (new_head and not any(is_backbone(model, key) for key in missing)):
        heads = [key for key in unused if not is_backbone(model, key)]
        raise ValueError(
            f"{source}: the checkpoint lacks {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}, so these weights would be random"
            f"{f' ({type(model).__name__} does not read its {heads[0]})' if heads else ''}. "
            "Use a trained reward model, or make one with `scpo train-global --backbone`."
        )
    if model.config.num_labels != 1:
        raise ValueError(
            f"{source}: a reward model has one output, but this one has "
            f"{model.config.num_labels}. "
            "Train a global model from it with `scpo train-global --backbone`."
        )
