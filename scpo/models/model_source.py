"""Where a model comes from: a folder, the hub at a commit, or an object store.

`find_model` resolves once what a user named; the source it returns means the same model in every
process and on every node. Each node makes its own copy of what is not a folder.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scpo.files.atomic import write_json
from scpo.files.buckets import RemoteFolder, local_copy
from scpo.files.hub import download_model, resolve_commit
from scpo.files.places import is_remote
from scpo.models.folder.checks import CONFIG_FILE, in_one_line, read_object
from scpo.models.folder.contract import MODEL_FILES
from scpo.text.json_text import load_json

ADAPTER_CONFIG = "adapter_config.json"
CONFIG_PATTERNS = (CONFIG_FILE, ADAPTER_CONFIG, "*.py")
PIN_FILE = "global_model.json"  # in a run: the commit of the hub that all its trainings use


@dataclass(frozen=True)
class ModelSource:
    """One model, named so that it is the same everywhere.

    Attributes:
        name: Absolute path of a folder, OWNER/NAME on the hub, or s3:// or gs:// URI.
        commit: Commit on the hub; None for a folder or a URI.
        base: The model that an adapter adapts; None for a whole model.
    """

    name: str
    commit: str | None = None
    base: "ModelSource | None" = None

    def __str__(self) -> str:
        return self.name if self.commit is None else f"{self.name}@{self.commit}"

    def folder(self) -> Path:
        """Return this node's folder of the model's files, fetched unless it was before.

        Raises:
            FileNotFoundError: It is not there any more, or not whole.
            OSError: The hub or the object store does not answer or refuses.
            ValueError: The copy in the object store is damaged.
        """
        if self.commit is not None:
            return download_model(self.name, self.commit, MODEL_FILES)
        if is_remote(self.name):
            return local_copy(self.name)
        folder = Path(self.name)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"No model folder at {folder}. Every node must reach it: use shared storage, a "
                "hub name or an s3:// or gs:// URI."
            )
        return folder

    def config_folder(self) -> Path:
        """Return a folder with the model's configuration; of the hub no weights are fetched."""
        if self.commit is None:
            return self.folder()
        return download_model(self.name, self.commit, CONFIG_PATTERNS)


def find_model(name: str | Path | ModelSource, *, revision: str | None = None) -> ModelSource:
    """Return the source of a model; the hub is asked for the commit of a revision, once.

    A name is a model folder, an s3:// or gs:// URI, or a hub name, which may end in @REVISION;
    `revision` is a branch, tag or commit where it does not. A source is returned as it is.

    Raises:
        FileNotFoundError: No such folder, or one without config.json and adapter_config.json; or
            the hub has no such model or revision.
        OSError: The hub or the object store does not answer or refuses.
        ValueError: Name and `revision` ask for two revisions, or an adapter names no base.
    """
    if isinstance(name, ModelSource):
        return name
    source = _find(str(name), revision)
    adapter = _adapter_config(source)
    if adapter is None:
        return source
    base = adapter.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ValueError(
            f"{source}: an adapter must name its base, but base_model_name_or_path in "
            f"{ADAPTER_CONFIG} is {base!r}. Set it to the folder or hub name of the base."
        )
    try:
        found = _find(base, adapter.get("revision"))
        is_whole = _adapter_config(found) is None
    except (OSError, ValueError) as error:
        raise type(error)(f"The base of the adapter {source}: {error}") from error
    if not is_whole:
        raise ValueError(
            f"{source}: the base of an adapter must be a whole model, but {found} is an adapter "
            "too. Merge that one into a model first."
        )
    return ModelSource(source.name, source.commit, found)


def pin_model(name: str, *, revision: str | None = None, file: Path) -> ModelSource:
    """Return the source of a model, found once: later calls read it from a JSON file.

    The file is written unless it holds the source of this name and revision.

    Raises:
        OSError: As of `find_model`.
        ValueError: As of `find_model`, or the file is damaged.
    """
    asked = {"name": name, "revision": revision}
    if file.is_file():
        try:
            held = load_json(file.read_bytes())
            if held["asked"] == asked:
                return _source_of(held["source"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: {error}. Remove it to ask anew.") from error
    source = find_model(name, revision=revision)
    write_json(file, {"asked": asked, "source": asdict(source)})
    return source


def find_models(models: Mapping[str, str]) -> dict[str, ModelSource]:
    """Return the source of each model, by label.

    Raises:
        OSError: One cannot be found; the message names its label.
    """
    sources = {}
    for label, name in models.items():
        try:
            sources[label] = find_model(name)
        except OSError as error:
            raise type(error)(f"{label}: {error}") from error
    return sources


def _source_of(held: Mapping[str, Any]) -> ModelSource:
    base = held["base"]
    return ModelSource(held["name"], held["commit"], None if base is None else _source_of(base))


def _find(name: str, revision: str | None) -> ModelSource:
    """Return the source of a model or adapter, its base left out."""
    if is_remote(name):
        return ModelSource(name.rstrip("/"))
    folder = Path(os.path.expanduser(name))  # which leaves the home of nobody as it is
    if folder.is_dir():
        if not any((folder / file).is_file() for file in (CONFIG_FILE, ADAPTER_CONFIG)):
            raise FileNotFoundError(f"{folder} holds no {CONFIG_FILE}, so it is no model folder.")
        return ModelSource(str(folder.resolve()))
    repository, at, pinned = name.partition("@")
    if folder.is_absolute() or name.startswith((".", "~")) or repository.count("/") != 1:
        raise FileNotFoundError(
            f"No model folder at {name}. Give a folder or a hub name such as owner/model."
        )
    if at and not pinned:
        raise ValueError(f"{name}: a revision must follow the @. Give one, or leave the @ out.")
    if pinned and revision and pinned != revision:
        raise ValueError(
            f"{name} must have one revision, but `revision` asks for {revision!r}. Give one of "
            "the two."
        )
    return ModelSource(repository, resolve_commit(repository, pinned or revision))


def _adapter_config(source: ModelSource) -> dict[str, Any] | None:
    """Return the configuration of an adapter; None for a whole model."""
    if is_remote(source.name):
        try:
            text = RemoteFolder(source.name).read(ADAPTER_CONFIG).decode("utf-8")
        except FileNotFoundError:
            return None
    else:
        file = source.config_folder() / ADAPTER_CONFIG
        if not file.is_file():
            return None
        return read_object(file)
    with in_one_line(f"{source}/{ADAPTER_CONFIG}"):
        return dict(load_json(text))
