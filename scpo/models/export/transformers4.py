"""What transformers 4 reads of a configuration that transformers 5 wrote.

Version 5 keeps the rotary settings in `rope_parameters`, perhaps one for each kind of layer.
Version 4 looks elsewhere and takes its defaults without a word: `old_fields` are what it reads.
`tests/interop` holds each kind of `EQUAL` against transformers 4.51; of any other model `old_note`
tells the card. Gemma 2 is one: version 4 does not cap its logits, but in eager attention.
"""

from typing import Any

EQUAL = frozenset(
    "albert bert bloom camembert deberta deberta-v2 distilbert electra falcon gemma gpt2 "
    "gpt_neo gpt_neox llama mistral modernbert mpnet opt phi phi3 qwen2 qwen3 rembert roberta "
    "starcoder2 xlm-roberta".split()
)
EQUAL_ROPE = frozenset(("default", "dynamic", "linear", "llama3"))
WINDOW_EVERYWHERE = ("qwen2", "qwen3")  # version 4 lets all layers see what few are to see


def old_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration under the names of transformers 4."""
    kind, rope = config.get("model_type"), config.get("rope_parameters") or {}
    old: dict[str, Any] = {}
    if kind == "modernbert" and "full_attention" in rope:
        old["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        old["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
    if "rope_theta" not in rope:
        return old
    old["rope_theta"] = rope["rope_theta"]
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if kind == "gpt_neox":
        old["rotary_emb_base"] = rope["rope_theta"]
        old["rotary_pct"] = rope.get("partial_rotary_factor", 1.0)
    if rope.get("rope_type", "default") != "default":
        old["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    return old


def old_note(config: dict[str, Any]) -> str | None:
    """Return, for a card, that transformers 4 may read it otherwise; None where it does not."""
    kind = str(config.get("model_type"))
    odd = sorted(_rope_types(config) - EQUAL_ROPE)
    windows = kind in WINDOW_EVERYWHERE and "sliding_attention" in config.get("layer_types", ())
    if kind in EQUAL and not odd and not windows:
        return None
    of = f" with {odd[0]} positions" if odd else " with sliding windows" if windows else ""
    return (
        f"transformers 4 and what is built on it (rewardbench) may give a {kind} model{of} other "
        "rewards, or lose weights of it. Use transformers 5."
    )


def _rope_types(config: dict[str, Any]) -> set[str]:
    rope = config.get("rope_parameters") or {}
    nested = [each for each in rope.values() if isinstance(each, dict)]
    return {str(each.get("rope_type", "default")) for each in nested or [rope]}
