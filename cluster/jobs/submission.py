"""Plans a job on a Ray cluster: a command line, a folder to send and a name.

In: a configuration file, the output folder on the cluster's shared storage and overrides. Out: a
`Submission`, plain values that `cluster.jobs.client` sends. Nothing here talks to a cluster.

The command is `scpo sweep ... --resume`, which starts in an empty output folder and resumes in
one with a ledger. So submitting again resumes an interrupted sweep.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cluster.access.profile import Profile, is_shared
from scpo.files.hub import is_data_set_name
from scpo.text.secrets import has_secret, is_random, is_secret_name
from scpo.text.settings import apply_override, refuse_secrets
from scpo.text.yaml_files import YamlValue, read_yaml

EXCLUDED_FOLDERS = (".git", ".venv", "build", "caches", "data", "runs")
"""Folders directly below the working directory that are never sent."""

SECRET_FILES = (
    *(
        ".aws",
        ".azure",
        ".boto",
        ".cache",
        ".cargo/credentials*",
        ".condarc",
        ".config",
        ".databrickscfg",
    ),
    *(".docker", ".dockercfg", ".dockerconfigjson", ".env*", "*.env", ".git-credentials"),
    *(
        ".gnupg",
        ".gsutil",
        ".htpasswd",
        ".huggingface",
        ".jupyter",
        ".kaggle",
        ".kube",
        ".mylogin.cnf",
    ),
    *(".my.cnf", ".netrc", "_netrc", ".ngrok*", ".npmrc", ".oci", ".passwd*", ".pgpass"),
    *(".pg_service.conf", ".pypirc", ".s3cfg", ".secrets*", ".snowsql", ".ssh", ".terraform*"),
    *(".token*", ".vault*", ".yarnrc*", ".authinfo*", ".*_history", "*.asc", "*.crt", "*.gpg"),
    *("*.jks", "*.kdbx", "*.key", "*.keystore", "*.ovpn", "*.p8", "*.p12", "*.pem", "*.pfx"),
    *("*.pgp", "*.ppk", "*.tfstate*", "*.tfvars", "*.token", "id_rsa*", "id_dsa*", "id_ecdsa*"),
    *("id_ed25519*", "*[Aa][Pp][Ii]_[Kk]ey*", "*apikey*", "auth_token*", "*_token", "*-token"),
    *("*[Tt][Oo][Kk][Ee][Nn]*.txt", "huggingface/token", "*[-_]token.json", "token.json"),
    "*[-_][Pp][Aa][Tt].txt",
    *("[Cc]redentials", "*[Cc]redential*.*", "*[Pp]assword*.*", "passwd", "*[Ss]ecret*.txt"),
    *("*[Ss]ecret*.json", "*[Ss]ecret*.y*ml", "*[Ss]ecret*.toml", "*[Ss]ecret*.ini", "secret"),
    *(".ipynb_checkpoints", "*[-_]pat", "*.pat"),
    *("*service[-_]account*.json", "*adminsdk*.json", "kubeconfig*", "*.kubeconfig"),
    *("kaggle.json", "pip.conf", "rclone.conf", "cookies.txt", "secrets", "gcloud"),
    *("application_default_credentials.json", "*oauth*.json", "wandb/settings"),
)
"""What looks like a secret, in .gitignore syntax: never sent, whatever it holds."""

# .gitignore patterns. The folders are anchored: `data` alone would also match scpo/data. Without a
# trailing slash, Ray skips the whole folder instead of matching file by file.
EXCLUDES = (
    *(f"/{folder}" for folder in EXCLUDED_FOLDERS),
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".ray",
    "*.arrow",
    "*.bin",
    "*.parquet",
    "*.pt",
    "*.safetensors",
    *SECRET_FILES,
)

_PATHS = (
    ("data", "path"),
    ("data", "vetted", "file"),
    ("global_model", "name"),
    ("global_model", "backbone"),
    ("global_model", "extra_pairs"),
)
_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.!+_-]+")
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
_SUBMISSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Submission:
    """A job as it will be sent.

    Raises:
        ValueError: The name has other characters than letters, digits, '.', '_' and '-', or a
            variable's name is one of a secret.
    """

    submission_id: str  # name of the job on the cluster; equal to the run name
    # Command line as arguments, run in the copy of the working directory.
    entrypoint: tuple[str, ...]
    working_dir: Path  # local folder to send, without `excludes` and what its .gitignore lists
    # Patterns in .gitignore syntax, relative to `working_dir`.
    excludes: tuple[str, ...] = EXCLUDES
    # Local variables to send by value, which everyone who can see the job sees.
    env_names: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)  # strings kept with the job's record
    requirements: tuple[str, ...] = ()  # `name==version` of packages that Ray installs for the job
    # What the job reads of the working directory: files or folders, relative to it.
    needed: tuple[str, ...] = ()
    # Files or folders to send though git does not track them, relative to `working_dir`.
    included: tuple[str, ...] = ()
    # Arguments of Ray's `submit_job` that reserve CPUs and GPUs; without any it runs on the head.
    reserved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _SUBMISSION_ID.fullmatch(self.submission_id):
            raise ValueError(
                "The run name must be letters, digits, '.', '_' and '-', and start with a letter "
                f"or digit, but got {self.submission_id!r}. Give another run name."
            )
        for name in self.env_names:
            if is_secret_name(name):
                raise ValueError(
                    f"A secret must not be sent by value, but got the variable {name}: the "
                    "cluster shows and logs it. Set it on the cluster, as a mounted file or a "
                    "Kubernetes Secret."
                )

    def request(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """Return the arguments of Ray's `submit_job`, with the values of `env_names`."""
        runtime_env: dict[str, Any] = {
            "working_dir": str(self.working_dir),
            "excludes": list(self.excludes),
            "env_vars": {name: environment[name] for name in self.env_names},
        }
        if self.requirements:
            runtime_env["pip"] = {"packages": list(self.requirements), "pip_check": False}
        return {
            "entrypoint": shlex.join(self.entrypoint),
            "submission_id": self.submission_id,
            "runtime_env": runtime_env,
            "metadata": dict(self.metadata),
            **self.reserved,
        }


def plan_submission(
    config: Path,
    *,
    out: str | None = None,
    run_name: str | None = None,
    overrides: Sequence[str] = (),
    env_names: Sequence[str] = (),
    included: Sequence[str] = (),
    profile: Profile | None = None,
) -> Submission:
    """Return the job that runs the sweep `config` on a cluster; the current directory is sent.

    `out` is the output folder as the cluster sees it; without it, the run name in the profile's
    storage. Without `run_name`, the job is named as the end of `out`, or else as `config`. The
    profile adds variables, requirements and resources. The job's metadata hold the output folder
    and the configuration's path and sha256.

    Raises:
        FileNotFoundError: There is no `config`, or no file of the profile's requirements.
        ValueError: `config` is outside the current directory or in a folder that is not sent; what
            is included is outside it, too, or is not there;
            `out` is relative, or neither it nor a profile is given; a requirement is not pinned;
            or the job cannot have this name or these variables (see `Submission`).
    """
    relative = _locate_config(config)
    settings = _read_settings(config, overrides)
    out = _choose_out(out, run_name or config.stem, profile)
    command = ["python", "-m", "scpo", "sweep", relative.as_posix(), "--out", out, "--resume"]
    for override in (*overrides, *_share_cache(settings, out)):
        command += ["--set", override]
    return Submission(
        submission_id=PurePosixPath(out).name if run_name is None else run_name,
        entrypoint=tuple(command),
        working_dir=Path.cwd(),
        env_names=tuple(dict.fromkeys([*(profile.env_names if profile else ()), *env_names])),
        metadata={
            "scpo_config": relative.as_posix(),
            "scpo_config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
            "scpo_out": out,
        },
        requirements=_read_requirements(profile),
        needed=(relative.as_posix(), *_files_read(settings)),
        included=tuple(map(_locate_included, included)),
        reserved={
            name: value
            for name, value in profile or ()
            if name.startswith("entrypoint_") and value
        },
    )


def read_environment(names: Sequence[str]) -> dict[str, str]:
    """Return the values of variables that are sent.

    Raises:
        ValueError: One is not set, or looks like a secret.
    """
    for name in names:
        if name not in os.environ:
            raise ValueError(f"The variable {name} is to be sent, but is not set. Set it first.")
        if has_secret(os.environ[name]) or is_random(os.environ[name]):
            raise ValueError(
                f"The variable {name} must not be sent by value, because it carries a password or "
                "a token: the cluster shows and logs it. Set it on the cluster."
            )
    return {name: os.environ[name] for name in names}


def _choose_out(out: str | None, run_name: str, profile: Profile | None) -> str:
    if out is None:
        if profile is None:
            raise ValueError(
                "The job needs an output folder. Give --profile NAME, or --out "
                "/mnt/scpo/runs/NAME."
            )
        out = f"{profile.storage.rstrip('/')}/{run_name}"
    if not is_shared(out):
        raise ValueError(
            f"The output folder must be an absolute path on the cluster, s3:// or gs://, but got "
            f"{out!r}: Ray deletes the job's working directory, and a relative folder with it. "
            "Give a folder that every node mounts: --out /mnt/scpo/runs/NAME."
        )
    if len([name for name in out.rpartition("://")[2].split("/") if name]) < 2:
        raise ValueError(
            "The output folder must lie below a folder or in a bucket, since the cache is put "
            f"beside it, but got {out!r}. Give --out /mnt/scpo/runs/NAME or s3://BUCKET/runs/NAME."
        )
    return out.rstrip("/")


def _read_settings(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return a configuration with its overrides, as written; a secret in it is refused.

    What else is wrong with it the job says: its variables and packages are on the cluster.
    """
    read = read_yaml(config)
    if not isinstance(read.value, dict):
        read = YamlValue({}, {})
    for override in overrides:
        apply_override(read, override)
    refuse_secrets(read, str(config))
    return dict(read.value)


def _files_read(settings: Mapping[str, Any]) -> list[str]:
    """Return the relative paths that a configuration names: the job reads them where it runs."""
    named = []
    for place in _PATHS:
        inner: Any = settings
        for section in place[:-1]:
            inner = inner.get(section) if isinstance(inner, dict) else None
        key = place[-1]
        value = inner.get(key) if isinstance(inner, dict) else None
        if not isinstance(value, str) or value.startswith(("$", "~")) or is_shared(value):
            continue
        is_model = key in ("name", "backbone") and _HUB_NAME.fullmatch(value)
        is_data = key == "path" and inner.get("source") == "pairs" and is_data_set_name(value)
        if Path(value).exists() or not (is_model or is_data):
            named.append(PurePosixPath(value).as_posix())
    for path in named:
        if ".." in PurePosixPath(path).parts:
            raise ValueError(
                f"The job reads {path}, which is outside the working directory and is not sent. "
                "Name a place that every node reads: an absolute path, s3:// or gs://."
            )
    return named


def _share_cache(settings: Mapping[str, Any], out: str) -> list[str]:
    """Return an override that puts a relative cache beside the run, where every node sees it.

    In the working directory, each node would have its own cache, deleted after the job.
    """
    cache = str(settings.get("cache", ""))
    if is_shared(cache) or cache.startswith("$"):
        return []
    return [f"cache={out.rpartition('/')[0]}/cache"]


def _read_requirements(profile: Profile | None) -> tuple[str, ...]:
    if profile is None or profile.requirements is None:
        return ()
    path = Path(profile.requirements)
    if not path.is_file():
        raise FileNotFoundError(f"The profile names {path} as its requirements: no such file.")
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    for line in filter(None, lines):
        if not _PINNED.fullmatch(line):
            raise ValueError(
                f"{path}: a requirement must be name==version, so that all nodes get the same, "
                f"but got {line!r}. Pin it."
            )
    return tuple(filter(None, lines))


def _locate_included(path: str) -> str:
    """Return a path to include, relative to the current directory."""
    inside = Path(os.path.abspath(path))  # a link in it is followed only when it is sent
    if not inside.exists() or Path.cwd() not in inside.parents:
        raise ValueError(
            f"--include {path}: it must be a file or folder below {Path.cwd()}. Copy it there, or "
            "put it into storage that every node reads."
        )
    if ".git" in inside.relative_to(Path.cwd()).parts:
        raise ValueError(f"--include {path}: what git keeps is never sent. Name another path.")
    return inside.relative_to(Path.cwd()).as_posix()


def _locate_config(config: Path) -> Path:
    """Return `config` relative to the current directory, once checked that it will be sent."""
    if not config.is_file():
        raise FileNotFoundError(f"The configuration must be a file, but got {config}.")
    path = config.resolve()
    if not path.is_relative_to(Path.cwd()):
        raise ValueError(
            f"The configuration must be inside the working directory {Path.cwd()}, which is all "
            f"that is sent, but got {path}. Copy it there, or change to its folder first."
        )
    relative = path.relative_to(Path.cwd())
    if relative.parts[0] in EXCLUDED_FOLDERS:
        raise ValueError(
            f"The configuration must not be in {relative.parts[0]}/, which is not sent, but got "
            f"{relative}. Copy it to another folder."
        )
    return relative
