"""scpo.json in an exported folder: what the model is, and the sha256 of each of its files.

    {"format": 1, "kind": "reward-model", "max_tokens": 512, "overlong": "truncate_prompt",
     "country": "Mexico", "arm": "scpo", "tau": 0.7, "beta": 1.1, "global_model": "3f..",
     "prompt_prefix": null, "files": {"model.safetensors": "9a..", ...}, "sha256": "of all this"}

Format 2 is that of a model with a prompt prefix, which earlier versions would forget. A folder
without scpo.json loads as before. With it every file is verified before it is read, so a bit
that flipped on a disk or on the way is found by the name of its file.
"""

import os
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from scpo.files.atomic import hash_once, hash_values, write_json
from scpo.files.buckets import MANIFEST
from scpo.models.folder.checks import read_object

FACTS_FILE = "scpo.json"
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py")
FACTS_FORMAT = 1
PREFIX_FORMAT = 2
KIND = "reward-model"


@dataclass(frozen=True)
class ModelFacts:
    """What an exported model is; None where it is not known or does not apply.

    Attributes:
        max_tokens: Token budget that it was trained with.
        overlong: What happened to longer texts, of `scpo.choices.Overlong`.
        country: Whose preferences; None for a global model.
        arm: How its pairs were selected and weighted.
        tau: Filter threshold.
        beta: Weighting temperature.
        user_strength: Strength of the users' weights; 0 for none.
        tested_before: Other settings of its name that the same test users judged before; None
            where no test users did.
        global_model: `scpo.models.reward_model.content_hash` of the model it continues.
        prompt_prefix: How its prompts were given, "In Mexico: {prompt}"; that of a global model
            holds `{country}`, and it cannot score without one.
    """

    max_tokens: int | None = None
    overlong: str | None = None
    country: str | None = None
    arm: str | None = None
    tau: float | None = None
    beta: float | None = None
    user_strength: float | None = None
    tested_before: int | None = None
    global_model: str | None = None
    prompt_prefix: str | None = None


def is_model_file(name: str) -> bool:
    """Tell whether a file directly in a folder is of its model; hidden ones are not."""
    known = any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)
    return known and name != MANIFEST and name[0] != "." and "/" not in name


def model_files(folder: Path) -> list[Path]:
    """Return the files that make a model, sorted."""
    return sorted(file for file in folder.iterdir() if is_model_file(file.name))


def write_facts(folder: Path, facts: ModelFacts) -> None:
    """Write scpo.json over all files that a model's folder holds now."""
    files = {file.name: hash_once(file) for file in _told_files(folder)}
    number = FACTS_FORMAT if facts.prompt_prefix is None else PREFIX_FORMAT
    held = {"format": number, "kind": KIND, **asdict(facts), "files": files}
    write_json(folder / FACTS_FILE, {**held, "sha256": hash_values(held)})


def verify_folder(folder: Path) -> ModelFacts | None:
    """Return what scpo.json says of a folder whose files are those that were exported.

    None without it. A process hashes a file once, and of a node's ranks the first does.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is another or was added, or scpo.json is damaged or of a later version.
    """
    file = folder / FACTS_FILE
    if not file.is_file():
        return None
    held = read_object(file)
    if held.get("kind") != KIND or held.get("format") not in (FACTS_FORMAT, PREFIX_FORMAT):
        raise ValueError(
            f"{file} must be of kind {KIND!r} and format {PREFIX_FORMAT} at most, but is of "
            f"{held.get('kind')!r} and {held.get('format')!r}. Update scpo to read it."
        )
    if held.pop("sha256", None) != hash_values(held) or not isinstance(held.get("files"), dict):
        raise _changed(file)
    there = {path.name: path for path in _told_files(folder)}
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"  # its refusal ends the others
    for name, sha256 in held["files"].items():
        if name not in there:
            raise FileNotFoundError(f"{folder / name} is missing. Copy the model again.")
        if is_first and hash_once(there[name]) != sha256:
            raise _changed(there[name])
    if added := sorted(set(there) - set(held["files"])):
        raise ValueError(
            f"{folder / added[0]} was added after the export. Move it out, or remove {FACTS_FILE} "
            "to read the folder as anybody's."
        )
    return ModelFacts(**{field.name: held.get(field.name) for field in fields(ModelFacts)})


def _told_files(folder: Path) -> list[Path]:
    return [file for file in model_files(folder) if file.name != FACTS_FILE]


def _changed(file: Path) -> ValueError:
    return ValueError(
        f"{file} is not what was exported: its sha256 is another than {FACTS_FILE} says. Copy the "
        f"model again; if it was changed on purpose, remove {FACTS_FILE}."
    )
