"""What a job on a Ray cluster is: one command line, one folder to send, one name.

In: a configuration file, the output folder on the cluster's shared storage and overrides. Out: a
`Submission`, plain values that `cluster.jobs.client` sends. Nothing here talks to a cluster.

The command is `scpo sweep ... --resume`: on an empty output folder it starts afresh, on a folder
with a ledger it goes on. Submitting again is therefore how an interrupted sweep is resumed.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from cluster.access.profile import REMOTE_SCHEMES, Profile

EXCLUDED_FOLDERS = (".git", ".venv", "build", "caches", "data", "runs")
"""Folders directly below the working directory that never travel to the cluster."""

# Patterns of .gitignore. The folders are anchored: a bare `data` would also drop the package
# scpo/data. Without a trailing slash they prune the walk instead of matching file by file.
EXCLUDES = (
    *(f"/{folder}" for folder in EXCLUDED_FOLDERS),
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".aws",
    ".env*",
    ".netrc",
    ".ray",
    ".ssh",
    "*.key",
    "*.pem",
    "auth_token",
    "*.arrow",
    "*.bin",
    "*.parquet",
    "*.pt",
    "*.safetensors",
)

_SECRET_NAME = re.compile(r"TOKEN|SECRET|KEY|PASSWORD", re.IGNORECASE)
_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.!+_-]+")
_SUBMISSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Submission:
    """One job, as it will be sent.

    Attributes:
        submission_id: Name of the job on the cluster; equal to the run name.
        entrypoint: Command line as arguments, run in the copy of the working directory.
        working_dir: Local folder that is sent, less `excludes` and what its .gitignore lists.
        excludes: Patterns in .gitignore syntax, relative to `working_dir`.
        env_names: Variables of the local environment whose values are sent with the job. The
            cluster shows these values to everybody who can see the job.
        metadata: Strings kept with the job's record.
        requirements: `name==version` of packages that Ray installs for the job.
        num_cpus: CPUs held for the command; without any resource it runs on the head.
        num_gpus: GPUs held for the command.
        resources: Custom resources held for the command.
    """

    submission_id: str
    entrypoint: tuple[str, ...]
    working_dir: Path
    excludes: tuple[str, ...] = EXCLUDES
    env_names: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    num_cpus: float = 0
    num_gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SUBMISSION_ID.fullmatch(self.submission_id):
            raise ValueError(
                "The run name must be letters, digits, '.', '_' and '-', and begin with a letter "
                f"or digit, but got {self.submission_id!r}. Give another run name."
            )
        for name in self.env_names:
            if _SECRET_NAME.search(name):
                raise ValueError(
                    "A secret must not be sent by value, because the cluster shows and logs it, "
                    f"but got the variable {name}. Set it on the cluster itself: a mounted file "
                    "or a Kubernetes Secret."
                )

    def request(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """Return what is sent to the cluster, as arguments of Ray's `submit_job`.

        Args:
            environment: What stands for the value of each variable of `env_names`.
        """
        runtime_env: dict[str, Any] = {
            "working_dir": str(self.working_dir),
            "excludes": list(self.excludes),
            "env_vars": {name: environment[name] for name in self.env_names},
        }
        if self.requirements:
            runtime_env["pip"] = {"packages": list(self.requirements), "pip_check": False}
        held = {
            "entrypoint_num_cpus": self.num_cpus,
            "entrypoint_num_gpus": self.num_gpus,
            "entrypoint_resources": self.resources,
        }
        return {
            "entrypoint": shlex.join(self.entrypoint),
            "submission_id": self.submission_id,
            "runtime_env": runtime_env,
            "metadata": dict(self.metadata),
        } | {name: value for name, value in held.items() if value}


def plan_submission(
    config: Path,
    *,
    out: str | None = None,
    run_name: str | None = None,
    root: Path = Path("."),
    overrides: Sequence[str] = (),
    env_names: Sequence[str] = (),
    profile: Profile | None = None,
) -> Submission:
    """Return the job that runs the sweep `config` on a cluster.

    Args:
        config: Sweep configuration, inside `root`.
        out: Output folder as the cluster sees it: absolute, on storage that every node mounts,
            or s3:// or gs://; with a profile, the run name in its storage when absent.
        run_name: Name of the job; the last part of `out`, or of `config`, when absent.
        root: Working directory that is sent; relative to the current directory.
        overrides: `key=value` settings, passed on as `--set`.
        env_names: Variables of the local environment to send by value; no secrets.
        profile: Where it goes; adds variables, requirements and resources for the command.

    Returns:
        The job. Its metadata hold the output folder and the configuration's path and sha256.

    Raises:
        FileNotFoundError: `root` is not a folder or `config` not a file.
        ValueError: `config` lies outside `root` or in a folder that is not sent; `out` is
            relative, or neither it nor a profile is given; a requirement is not pinned; the run
            name has other characters than letters, digits, '.', '_' and '-'; a variable's name
            matches TOKEN, SECRET, KEY or PASSWORD.
    """
    relative = _locate_config(config, root)
    out = _choose_out(out, run_name or config.stem, profile)
    command = ["python", "-m", "scpo", "sweep", relative.as_posix(), "--out", out, "--resume"]
    for override in (*_share_cache(config, out, overrides), *overrides):
        command += ["--set", override]
    return Submission(
        submission_id=PurePosixPath(out).name if run_name is None else run_name,
        entrypoint=tuple(command),
        working_dir=root.resolve(),
        env_names=tuple(dict.fromkeys([*(profile.env_names if profile else ()), *env_names])),
        metadata={
            "scpo_config": relative.as_posix(),
            "scpo_config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
            "scpo_out": out,
        },
        requirements=_read_requirements(profile, root),
        num_cpus=profile.entrypoint_num_cpus if profile else 0,
        num_gpus=profile.entrypoint_num_gpus if profile else 0,
        resources=dict(profile.entrypoint_resources) if profile else {},
    )


def _choose_out(out: str | None, run_name: str, profile: Profile | None) -> str:
    """Return the output folder, that given or the run's in the profile's storage."""
    if out is None:
        if profile is None:
            raise ValueError(
                "The output folder or a profile must be given, but got neither. Give --profile "
                "NAME, or --out /mnt/scpo/runs/NAME."
            )
        out = profile.out(run_name)
    if not (PurePosixPath(out).is_absolute() or out.startswith(REMOTE_SCHEMES)):
        raise ValueError(
            f"The output folder must be an absolute path on the cluster, or s3:// or gs://, but "
            f"got {out!r}: a relative one would lie in the job's temporary copy of the working "
            "directory and vanish with it. Give a folder that every node mounts: "
            "--out /mnt/scpo/runs/NAME."
        )
    return out.rstrip("/")


def _share_cache(config: Path, out: str, overrides: Sequence[str]) -> list[str]:
    """Return the setting that puts a relative cache beside the run, where every node sees it.

    In the working directory each node would have its own, which goes with the job.
    """
    settings = yaml.safe_load(config.read_text("utf-8"))
    cache = settings.get("cache", "") if isinstance(settings, dict) else ""
    is_given = any(override.startswith("cache=") for override in overrides)
    if is_given or PurePosixPath(cache).is_absolute() or cache.startswith(("$", *REMOTE_SCHEMES)):
        return []
    return [f"cache={out.rpartition('/')[0]}/cache"]


def _read_requirements(profile: Profile | None, root: Path) -> tuple[str, ...]:
    """Return the lines of the profile's requirements, all of which must pin a version."""
    if profile is None or profile.requirements is None:
        return ()
    path = root / profile.requirements
    if not path.is_file():
        raise FileNotFoundError(f"The requirements of the profile must be a file, but got {path}.")
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    for line in filter(None, lines):
        if not _PINNED.fullmatch(line):
            raise ValueError(
                f"A requirement must be name==version, so that every node gets the same, but got "
                f"{line!r} in {path}. Pin it."
            )
    return tuple(filter(None, lines))


def _locate_config(config: Path, root: Path) -> Path:
    """Return `config` relative to `root`, after checking that it will be sent."""
    if not root.is_dir():
        raise FileNotFoundError(f"The working directory must be a folder, but got {root}.")
    if not config.is_file():
        raise FileNotFoundError(f"The configuration must be a file, but got {config}.")
    folder = root.resolve()
    if not config.resolve().is_relative_to(folder):
        raise ValueError(
            f"The configuration must lie inside the working directory {folder}, which is all that "
            f"the cluster receives, but got {config.resolve()}. Copy it there, or start from the "
            "folder that holds it."
        )
    relative = config.resolve().relative_to(folder)
    if relative.parts[0] in EXCLUDED_FOLDERS:
        raise ValueError(
            f"The configuration must not lie in {relative.parts[0]}/, which is not sent to the "
            f"cluster, but got {relative}. Copy it to another folder."
        )
    return relative
