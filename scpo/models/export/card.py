"""README.md of an exported folder: what the model is, how to use it, where programs differ.

`scpo evaluate` writes a card with figures over it, which keeps the section on use.
"""

from pathlib import Path

from huggingface_hub import ModelCardData

from scpo.files.atomic import write_text
from scpo.models.export.readers import reader_notes
from scpo.models.folder.contract import ModelFacts

CARD_FILE = "README.md"
TESTED_BEFORE = "other settings that the test users judged before"
TAGS = ["reward-model", "scpo", "pluralistic-alignment"]


def write_export_card(folder: Path, facts: ModelFacts, base_model: str) -> None:
    """Write the card of a model that was not evaluated yet; `base_model` is what it continues."""
    whose = f" of preferences in {facts.country}" if facts.country else ""
    header = ModelCardData(
        base_model=base_model if base_model.count("/") == 1 else None,
        library_name="transformers",
        model_name=f"Reward model{whose}",
        pipeline_tag="text-classification",
        tags=TAGS,
    )
    told = {
        "country": facts.country,
        "arm": facts.arm,
        "filter threshold tau": facts.tau,
        "weighting temperature beta": facts.beta,
        "longest text, in tokens": facts.max_tokens,
        "longer texts": facts.overlong,
        TESTED_BEFORE: facts.tested_before,
        "global model, hash of its content": facts.global_model,
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in told.items() if value is not None)
    write_text(
        folder / CARD_FILE,
        f"---\n{header.to_yaml()}\n---\n\n# Reward model{whose}\n\n"
        "Scores an answer to a prompt; a higher reward is more likely preferred. It has not been "
        "evaluated yet: `scpo evaluate` writes its figures here.\n\n"
        f"## Training\n\n| what | value |\n|---|---|\n{rows}\n\n{use_section(folder, facts)}",
    )


def use_section(folder: Path, facts: ModelFacts) -> str:
    """Return how a folder is used, and what other programs do otherwise with it."""
    notes = "\n".join(f"- {note}" for note in reader_notes(folder, facts))
    return (
        "## Use\n\n```python\nimport scpo\n\nmodel = scpo.RewardModel.from_pretrained(FOLDER)\n"
        "model.score(prompts, responses)  # texts or lists of messages; an array\n```\n\n"
        "`model` is a reward function of TRL's GRPO and RLOO trainers too. transformers "
        "(`AutoModelForSequenceClassification`, `pipeline`) and sentence-transformers "
        "(`CrossEncoder`) give the same raw rewards, in float32 to 1e-5, but for:\n\n"
        f"{notes}\n"
    )
