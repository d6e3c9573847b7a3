"""What a profile says to `scpo submit` and its fellows: where the cluster is, and how to reach it.

A profile is the file that starts the cluster. The settings stand in it where its engine lets users
keep data of their own: `metadata.scpo` (Ray's cluster files, local.yaml), or the annotation
`scpo/submit` of a RayCluster. Every profile asks for a token; there is no setting for that.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PROFILES = Path(__file__).parents[1] / "profiles"
REMOTE_SCHEMES = ("s3://", "gs://")  # storage that no node mounts
SHIPPED = ("local", "kuberay-raycluster", "aws", "gcp")


class Profile(BaseModel):
    """The settings of one cluster.

    Attributes are described where they are declared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    address: str = Field(
        description="The dashboard as this machine sees it, http://host:port.",
        pattern=r"^https?://[^/]+$",
    )
    storage: str = Field(
        description="The folder of all runs: an absolute path that every node mounts, s3:// or gs://."
    )
    start: str = Field(description="Shell line that starts the cluster; shown, never run.")
    tunnel: str = Field("", description="Shell line that brings the dashboard to `address`.")
    end: str = Field(description="Shell line that ends the cluster and what it costs.")
    env_names: list[str] = Field(
        [], description="Variables of the local environment to send by value; no secrets."
    )
    entrypoint_num_cpus: float = Field(
        0, ge=0, description="CPUs held for the driver. 0: it runs on the head."
    )
    entrypoint_num_gpus: float = Field(0, ge=0, description="GPUs held for the driver.")
    entrypoint_resources: dict[str, float] = Field(
        {}, description="Custom resources held for the driver."
    )
    requirements: str | None = Field(
        None, description="File of name==version lines that Ray installs for the job; none: none."
    )

    def out(self, run_name: str) -> str:
        """Return the output folder of a run."""
        return f"{self.storage.rstrip('/')}/{run_name}"

    def advice(self) -> str:
        """Return how the cluster is started and its dashboard reached."""
        tunnel = f" Reach the dashboard with: {self.tunnel}" if self.tunnel else ""
        return f"Start the cluster with: {self.start}{tunnel}"


def find_profile(name: str) -> Path:
    """Return the file of a profile.

    Args:
        name: Path of a file, or the name of one that ships, with or without its ending.

    Raises:
        FileNotFoundError: There is no such profile.
    """
    if Path(name).is_file():
        return Path(name)
    for path in sorted(PROFILES.iterdir()):
        if name in (path.name, path.stem):
            return path
    shipped = ", ".join(SHIPPED)
    raise FileNotFoundError(
        f"The profile must be a file or one of {shipped}, but got {name!r}. Copy one of those "
        "and give its path."
    )


def load_profile(name: str) -> Profile:
    """Return the settings that a profile holds.

    Args:
        name: See `find_profile`.

    Raises:
        FileNotFoundError: There is no such profile.
        ValueError: The file holds no settings for submission, or wrong ones.
    """
    path = find_profile(name)
    settings = None
    if path.suffix in (".yaml", ".yml"):
        with path.open(encoding="utf-8") as file:
            settings = next(_settings(list(yaml.safe_load_all(file))), None)
    if settings is None:
        raise ValueError(
            f"A profile to submit to must hold its settings (metadata.scpo, or the annotation "
            f"scpo/submit), but {path} has none: it starts a cluster for one run by itself. Its "
            "first lines say how."
        )
    try:
        profile = Profile.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"{path}: {_in_words(error)}") from error
    storage = profile.storage
    if not (PurePosixPath(storage).is_absolute() or storage.startswith(REMOTE_SCHEMES)):
        raise ValueError(
            f"{path}: storage must be an absolute path, s3:// or gs://, but got {storage!r}. Give "
            "a folder that every node mounts, or a bucket."
        )
    return profile


def _settings(documents: list[Any]) -> Iterator[Any]:
    """Yield the settings that the documents of a file hold."""
    for document in documents:
        if not isinstance(document, dict):
            continue
        metadata = document.get("metadata") or {}
        if "scpo" in metadata:
            yield metadata["scpo"]
        if "scpo/submit" in (metadata.get("annotations") or {}):
            yield yaml.safe_load(metadata["annotations"]["scpo/submit"])


def _in_words(error: ValidationError) -> str:
    """Return what is wrong with each field."""
    return "; ".join(
        f"{'.'.join(map(str, found['loc'])) or 'settings'}: {found['msg']}"
        for found in error.errors()
    )
