"""What makes an exported folder say the same in other programs that read it.

Fields of config.json and tokenizer_config.json, files readable to whom the umask allows, and a
chat template: the one that conversations are read by, and for encoders one that gives them the
layout of a text pair. Where a program cannot be equal, `reader_notes` says so for the card.
"""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from scpo.files.atomic import write_json, write_text
from scpo.models.export.transformers4 import old_fields, old_note
from scpo.models.folder.checks import CONFIG_FILE, read_object
from scpo.models.folder.contract import ModelFacts
from scpo.tokens.chat_layout import read_template
from scpo.tokens.pair_layout import pair_template, reads_pairs

TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE_FILE, OTHER_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
# sentence-transformers renders text pairs by the chat template if nothing tells it not to.
CROSS_ENCODER: dict[str, Any] = {
    "modules.json": [
        {
            "idx": 0,
            "name": "0",
            "path": "",
            "type": "sentence_transformers.base.modules.transformer.Transformer",
        }
    ],
    "sentence_bert_config.json": {
        "transformer_task": "sequence-classification",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "module_output_name": "scores",
    },
    "config_sentence_transformers.json": {
        "model_type": "CrossEncoder",
        "activation_fn": "torch.nn.modules.linear.Identity",
    },
}
# Learned positions that begin at the left end of a row, whether padding stands there or not.
PLACED = ("ctrl", "gpt2", "gpt_bigcode", "gpt_neo", "openai-gpt")
RAW_REWARDS = {"activation_fn": "torch.nn.modules.linear.Identity"}  # no sigmoid


def tell_readers(folder: Path, tokenizer: PreTrainedTokenizerBase, facts: ModelFacts) -> None:
    """Add to a written folder what other programs need."""
    written = folder / CONFIG_FILE
    if written.is_file():
        write_json(written, _with_reward_fields(read_object(written)))
    config = read_object(folder / TOKENIZER_CONFIG)
    if config.get("tokenizer_class") == "TokenizersBackend":  # of transformers 5 alone
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_input_names"] = list(tokenizer.model_input_names)  # versions differ in defaults
    config["padding_side"] = "right"  # positions are counted from the left
    if facts.max_tokens is not None:
        config["model_max_length"] = facts.max_tokens
    if isinstance(special := config.pop("extra_special_tokens", None), list):
        config["additional_special_tokens"] = special
    elif special:
        config["extra_special_tokens"] = special
    is_pair = reads_pairs(tokenizer.chat_template)
    template = pair_template(tokenizer) if is_pair else read_template(tokenizer)
    if template is not None:
        config["chat_template"] = template  # transformers 4 knows no file of it
        write_text(folder / TEMPLATE_FILE, template)
    shutil.rmtree(folder / OTHER_TEMPLATES, ignore_errors=True)  # rewards are of one
    if is_pair and written.is_file():
        for name, content in CROSS_ENCODER.items():
            write_json(folder / name, content)
    write_json(folder / TOKENIZER_CONFIG, config)
    for weights in folder.glob("*.safetensors"):  # safetensors writes mode 0600
        shutil.copymode(folder / TOKENIZER_CONFIG, weights)


def reader_notes(folder: Path, facts: ModelFacts) -> list[str]:
    """Return, for a card, what other programs do otherwise with a written folder."""
    config = read_object(folder / TOKENIZER_CONFIG)
    template = config.get("chat_template")
    notes = _notes_on_model(folder)
    if facts.prompt_prefix is not None:
        notes.append(f"Prompts must be given as `{facts.prompt_prefix}`; scpo does so by itself.")
    if facts.max_tokens is not None:
        notes.append(
            f"Texts over {facts.max_tokens} tokens: trained with `{facts.overlong}`; other "
            "programs cut another end or nothing."
        )
    if not reads_pairs(template):
        notes.append(
            "Prompts that are plain text (TRL) and text pairs (CrossEncoder, pipeline): other "
            "programs use no chat template. Render it first; it has the BOS already."
        )
        return notes
    if template is None:
        notes.append("Conversations: its text pairs cannot be written as a chat template.")
    elif "token_type_ids" in read_types(config) and _num_types(folder) > 1:
        notes.append("Conversations, through the chat template: the token types are lost.")
    notes.append(
        "TRL with plain prompts joins prompt and completion without separators; its RewardTrainer "
        "wants an end token for them."
    )
    notes.append(
        "rewardbench adds the special tokens a second time, and OpenRLHF reads decoders alone."
    )
    return notes


def _notes_on_model(folder: Path) -> list[str]:
    """Return what other programs do otherwise with this kind of model."""
    if not (folder / CONFIG_FILE).is_file():
        return [
            "This is an adapter: peft and transformers 5 read it, others only when it is merged "
            "into its base model."
        ]
    config = read_object(folder / CONFIG_FILE)
    notes = [note] if (note := old_note(config)) else []
    if config.get("model_type") in PLACED:
        notes.append(
            f"Padding at the left (rewardbench) moves the positions of a {config['model_type']} "
            "model, so that its rewards change. Pad at the right."
        )
    return notes


def read_types(config: dict[str, Any]) -> list[str]:
    """Return the model's inputs that a tokenizer's configuration declares."""
    return list(config.get("model_input_names") or ("token_type_ids",))


def _with_reward_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of raw rewards, for transformers 4 too."""
    return {
        **config,
        **old_fields(config),
        "problem_type": "regression",
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "sentence_transformers": RAW_REWARDS,
    }


def _num_types(folder: Path) -> int:
    file = folder / CONFIG_FILE
    return int(read_object(file).get("type_vocab_size", 0)) if file.is_file() else 0
