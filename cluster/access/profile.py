"""Reads profiles: where a cluster is, and how `scpo submit` and the other commands reach it.

A profile is the file that starts the cluster. Its settings are where the file format allows user
data: `metadata.scpo` (Ray's cluster files, local.yaml), or the annotation `scpo/submit` of a
RayCluster. Every profile requires a token; there is no setting for that.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scpo.files.places import is_remote
from scpo.text.yaml_files import parse_yaml, read_documents

PROFILES = Path(__file__).parents[1] / "profiles"
SHIPPED = ("local", "kuberay-raycluster", "aws", "gcp")


class Profile(BaseModel):
    """The settings of one cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    address: str = Field(
        description="Dashboard as seen from this machine, http://host:port.",
        pattern=r"^https?://[^/]+$",
    )
    storage: str = Field(
        description="Folder of all runs: an absolute path that every node mounts, s3:// or gs://."
    )
    start: str = Field(description="Shell line that starts the cluster; shown, never run.")
    tunnel: str = Field(
        "", description="Shell line that makes the dashboard reachable at `address`."
    )
    end: str = Field(description="Shell line that ends the cluster and its cost.")
    env_names: list[str] = Field(
        [], description="Variables of the local environment to send by value; no secrets."
    )
    entrypoint_num_cpus: float = Field(
        0, ge=0, description="CPUs reserved for the driver; 0 runs it on the head."
    )
    entrypoint_num_gpus: float = Field(0, ge=0, description="GPUs reserved for the driver.")
    entrypoint_resources: dict[str, float] = Field(
        {}, description="Custom resources reserved for the driver."
    )
    requirements: str | None = Field(
        None, description="File of name==version lines for Ray to install for the job."
    )

    def advice(self) -> str:
        """Return how the cluster is started and its dashboard reached."""
        tunnel = f" Reach the dashboard with: {self.tunnel}" if self.tunnel else ""
        return f"Start the cluster with: {self.start}{tunnel}"


def find_profile(name: str) -> Path:
    """Return the file of a profile, given its path or the name of a shipped one.

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
        f"The profile must be a file or one of {shipped}, but got {name!r}. Copy one of these "
        "and give the path of your copy."
    )


def load_profile(name: str) -> Profile:
    """Return the settings in a profile, given its path or the name of a shipped one.

    Raises:
        FileNotFoundError: There is no such profile.
        ValueError: The file has no settings for submission, or invalid ones.
    """
    path = find_profile(name)
    settings = None
    if path.suffix in (".yaml", ".yml"):
        documents = read_documents(path)
        settings = _find_settings([document.value for document in documents], str(path))
    if settings is None:
        raise ValueError(
            f"A profile must have settings (metadata.scpo, or the annotation scpo/submit), but "
            f"{path} has none: it starts a cluster for one run. See the first lines of the file."
        )
    try:
        profile = Profile.model_validate(settings)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ValueError(f"{path}: {'; '.join(faults)}") from error
    if not is_shared(profile.storage):
        raise ValueError(
            f"{path}: storage must be an absolute path that every node mounts, s3:// or gs://, "
            f"but got {profile.storage!r}."
        )
    return profile


def is_shared(place: str) -> bool:
    """Return whether a place may mean the same on all nodes: absolute, s3:// or gs://."""
    return PurePosixPath(place).is_absolute() or is_remote(place)


def _find_settings(documents: list[Any], origin: str) -> Any:
    """Return the first settings in the documents of a file; None if there are none."""
    for document in documents:
        metadata = _within(document, "metadata")
        annotation = _within(metadata, "annotations").get("scpo/submit")
        if "scpo" in metadata:
            return metadata["scpo"]
        if annotation is not None:
            written = parse_yaml(str(annotation), f"{origin}: scpo/submit")
            return written[0].value if written else {}
    return None


def _within(section: Any, key: str) -> dict[str, Any]:
    inner = section.get(key) if isinstance(section, dict) else None
    return inner if isinstance(inner, dict) else {}
