"""Tiny models of some twenty-five real classes, written as transformers writes them."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PretrainedConfig, PreTrainedTokenizerFast

POSITIONS = 64
SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.4,
    "num_labels": 1,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED: dict[str, Any] = {"num_key_value_heads": 1, "head_dim": 8}
DEBERTA: dict[str, Any] = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
NARROW = {"embedding_size": 8}
GPT2 = {"n_positions": POSITIONS, "n_embd": 16, "n_layer": 2, "n_head": 2}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Albert": NARROW,
    "Electra": NARROW,
    "DistilBert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "Roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "XLMRoberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "Camembert": {"pad_token_id": 1, "type_vocab_size": 1},
    "ModernBert": {"cls_token_id": 2, "sep_token_id": 3, "global_attn_every_n_layers": 2},
    "Deberta": DEBERTA,
    "DebertaV2": DEBERTA
    | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "MPNet": {"pad_token_id": 1},
    "RemBert": {"input_embedding_size": 8, "output_embedding_size": 8},
}
DECODERS: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": GROUPED,
    "Mistral": GROUPED | {"sliding_window": 6},
    "Gemma": GROUPED,
    "Gemma2": GROUPED | {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "Phi3": {"num_key_value_heads": 1},
    "GPT2": GPT2,
    "GPTNeoX": {},
    "Bloom": {"n_layer": 2, "n_head": 2},
    "OPT": {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "Falcon": {},
    "Phi": {},
    "Starcoder2": {"num_key_value_heads": 1},
    "GPTNeo": {
        "num_layers": 2,
        "attention_types": [[["global", "local"], 1]],
        "num_heads": 2,
        "window_size": 6,
    },
}
WORDS = "a b c d e f g h good bad user assistant system :".split()
TEMPLATE = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} <eos> {% endfor %}"


def make_tokenizer(
    *, pad_id: int = 0, chat: bool, types: bool = True, pad: str = "<pad>"
) -> PreTrainedTokenizerFast:
    """Words apart by spaces; conversations with `chat`, else pairs, perhaps without types."""
    first = ["<pad>", "<unk>"] if pad_id == 0 else ["<unk>", "<pad>"]
    words = [*first, "<bos>", "<eos>", *WORDS]
    backend = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not chat:
        backend.post_processor = processors.BertProcessing(("<eos>", 3), ("<bos>", 2))
        if not types:
            backend.post_processor = processors.RobertaProcessing(
                ("<eos>", 3), ("<bos>", 2), add_prefix_space=False
            )
    names = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        pad_token=pad,
        eos_token="<eos>",
        model_input_names=names,
        **({} if chat else {"cls_token": "<bos>", "sep_token": "<eos>"}),
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_config(kind: str, **own: Any) -> PretrainedConfig:
    fields = SIZES | {**ENCODERS, **DECODERS}.get(kind, {}) | own
    config: PretrainedConfig = getattr(transformers, f"{kind}Config")(**fields)
    return config


def write_kind(folder: Path, kind: str, *, pad: str = "<pad>", **own: Any) -> Path:
    """Write a model of a kind whose rewards differ between texts, with fields of its own."""
    torch.manual_seed(0)
    config = make_config(kind, **own)
    types = kind in ("Bert", "Albert", "Electra", "RemBert")
    tokenizer = make_tokenizer(
        pad_id=config.pad_token_id, chat=kind not in ENCODERS, types=types, pad=pad
    )
    config.pad_token_id = tokenizer.pad_token_id
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    with torch.no_grad():  # heads that begin at zero would score all texts alike
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
