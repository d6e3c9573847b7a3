"""A planned job: its command, its name, what is sent and what is refused."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from cluster.access.profile import Profile
from cluster.jobs import package, submission
from cluster.jobs.package import check_package, list_package
from cluster.jobs.submission import EXCLUDES, Submission, plan_submission
from scpo.config import Config
from sweeps.config import SweepConfig

PROFILE = Profile(
    address="http://h:1",
    storage="/mnt/scpo/runs",
    start="begin",
    end="stop",
    env_names=["HF_HOME"],
    entrypoint_num_gpus=1,
    entrypoint_resources={"driver": 1},
    requirements="pins.txt",
)


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sweeps" / "configs" / "prism.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("countries: [France]\n", encoding="utf-8")
    return path


def test_command_names_the_config_as_the_cluster_sees_it(config: Path, tmp_path: Path) -> None:
    submission = plan_submission(config, out="/mnt/scpo/runs/prism")
    assert submission.entrypoint == (
        *("python", "-m", "scpo", "sweep", "sweeps/configs/prism.yaml"),
        *("--out", "/mnt/scpo/runs/prism", "--resume", "--set", "cache=/mnt/scpo/runs/cache"),
    )
    assert submission.working_dir == tmp_path.resolve()
    assert submission.metadata == {
        "scpo_config": "sweeps/configs/prism.yaml",
        "scpo_config_sha256": hashlib.sha256(b"countries: [France]\n").hexdigest(),
        "scpo_out": "/mnt/scpo/runs/prism",
    }


def test_overrides_and_variables_are_passed_on(config: Path, tmp_path: Path) -> None:
    submission = plan_submission(
        config,
        out="/mnt/x",
        overrides=["seed=3", "name=a b; rm"],
        env_names=["HF_HOME"],
    )
    assert submission.entrypoint[-6:-2] == ("--set", "seed=3", "--set", "name=a b; rm")
    assert submission.env_names == ("HF_HOME",)


def test_a_relative_config_is_that_of_the_current_directory(config: Path, tmp_path: Path) -> None:
    submission = plan_submission(Path("sweeps/configs/prism.yaml"), out="/mnt/x")
    assert submission.working_dir == tmp_path.resolve()
    assert submission.entrypoint[4] == "sweeps/configs/prism.yaml"


@pytest.mark.parametrize(
    ("out", "run_name", "expected"),
    [
        ("/mnt/scpo/runs/prism", None, "prism"),
        ("/mnt/scpo/runs/prism/", None, "prism"),
        ("/mnt/scpo/runs/prism", "prism-2.b_1", "prism-2.b_1"),
    ],
)
def test_submission_id_is_the_run_name(
    config: Path, tmp_path: Path, out: str, run_name: str | None, expected: str
) -> None:
    submission = plan_submission(config, out=out, run_name=run_name)
    assert submission.submission_id == expected


@pytest.mark.parametrize("run_name", ["", "a/b", "-a", "a b", "a\n", "ä", ".."])
def test_run_name_of_other_characters_is_refused(
    config: Path, tmp_path: Path, run_name: str
) -> None:
    with pytest.raises(ValueError, match=r"run name must be letters.*Give another run name"):
        plan_submission(config, out="/mnt/x", run_name=run_name)


def test_out_without_a_name_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must lie below a folder"):
        plan_submission(config, out="/")


@pytest.mark.parametrize("out", ["s3://bucket", "gs://bucket/", "s3://", "/runs", "//runs"])
def test_out_that_is_no_folder_below_another_is_refused(config: Path, out: str) -> None:
    with pytest.raises(ValueError, match="must lie below a folder or in a bucket"):
        plan_submission(config, out=out)


def test_another_name_with_the_same_out_goes_on_with_that_run(config: Path) -> None:
    first = plan_submission(config, out="/mnt/runs/prism")
    again = plan_submission(config, out="/mnt/runs/prism", run_name="prism-2")
    assert (again.submission_id, again.entrypoint) == ("prism-2", first.entrypoint)
    assert "--resume" in again.entrypoint


@pytest.mark.parametrize("out", ["runs/prism", "", "s3:/bucket/prism"])
def test_relative_out_is_refused(config: Path, tmp_path: Path, out: str) -> None:
    with pytest.raises(ValueError, match="must be an absolute path on the cluster"):
        plan_submission(config, out=out)


def test_out_may_be_in_a_bucket_and_the_cache_stands_beside_it(
    config: Path, tmp_path: Path
) -> None:
    submission = plan_submission(config, out="s3://bucket/runs/prism/")
    assert submission.submission_id == "prism"
    assert "s3://bucket/runs/prism" in submission.entrypoint
    assert submission.entrypoint[-1] == "cache=s3://bucket/runs/cache"


def test_config_outside_the_working_directory_is_refused(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "sweeps" / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ValueError, match=r"must be inside the working directory .*Copy it there"):
        plan_submission(config, out="/mnt/x")


def test_config_in_a_folder_that_is_not_sent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "prism" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(ValueError, match=r"must not be in runs/.*Copy it to another folder"):
        plan_submission(path, out="/mnt/x")


def test_missing_paths_are_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="configuration must be a file"):
        plan_submission(config.with_name("none.yaml"), out="/mnt/x")


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "aws_secret_access", "API_KEY", "DB_PASSWORD", "MY_PASS", "GITHUB_PAT"]
)
def test_secrets_are_not_sent_by_value(name: str) -> None:
    with pytest.raises(ValueError, match=f"secret must not be sent by value, but.*{name}"):
        Submission("a", ("true",), Path("/x"), env_names=("HF_HOME", name))


SECRETS = """
.env prod.env scpo/.env.local .netrc .git-credentials .npmrc .pypirc .pgpass .my.cnf .htpasswd
.s3cfg .boto .databrickscfg .vault-token .bash_history .ray/auth_token keys/auth_token .ssh/id_rsa
id_rsa id_ed25519 .aws/credentials .docker/config.json .kube/config kubeconfig .config/gcloud/x
.cache/huggingface/token .huggingface/token .kaggle/kaggle.json kaggle.json rclone.conf cookies.txt
server.pem tls.key x.p12 x.pfx x.kdbx hf_token.txt token.txt GITHUB_TOKEN.txt wandb_token
github-pat.txt openai_api_key api_key.txt auth.token my-secret.json secrets.yaml
client_secret_1.json .streamlit/secrets.toml credentials credentials.json service-account.json
gcp_service_account_prod.json oauth_client.json passwords.txt database_password.yml
terraform.tfstate prod.tfvars .terraform/x
""".split()


def test_excludes_keep_packages_and_drop_data_runs_and_secrets(tmp_path: Path) -> None:
    root = tmp_path / "root"
    sent = ["scpo/data/pairs.py", "sweeps/configs/prism.yaml", "scpo/runs/kept.py"]
    sent += ["tokenizer.json", "tokenizer_config.json", "scpo/text/secrets.py", "scpo/tokens/a.py"]
    dropped = [
        *("data/a.csv", "runs/prism/trials.jsonl", ".venv/lib/x.py", "scpo/.git/HEAD", "caches/a"),
        *("scpo/__pycache__/a.pyc", ".mypy_cache/a", "a.parquet", "scpo/model.safetensors"),
        "ignored/by_git.txt",
    ]
    for name in [*sent, *dropped, *SECRETS]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x", encoding="utf-8")
    (root / ".gitignore").write_text("ignored/\n", encoding="utf-8")
    listed = list_package(root, EXCLUDES)
    assert sorted(listed.files) == sorted(sent)
    assert len(listed.left_out["that look like secrets"]) > 40


def test_another_ray_that_packs_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.runtime_env.packaging", None)
    with pytest.raises(RuntimeError, match=r"needs the packer of Ray 2\.60.*pip install"):
        list_package(tmp_path, [])


def test_profile_gives_folder_variables_packages_and_resources(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "pins.txt").write_text("# pinned\npeft==0.21.2\n\nray-extra[a,b]==1.0  # b\n")
    planned = plan_submission(config, env_names=["A", "HF_HOME"], profile=PROFILE)
    assert planned.submission_id == "prism"
    assert planned.entrypoint[5:8] == ("--out", "/mnt/scpo/runs/prism", "--resume")
    assert planned.env_names == ("HF_HOME", "A")
    request = planned.request({"HF_HOME": "/hf", "A": "1", "B": "2"})
    assert request["runtime_env"]["env_vars"] == {"HF_HOME": "/hf", "A": "1"}
    packages = ["peft==0.21.2", "ray-extra[a,b]==1.0"]
    assert request["runtime_env"]["pip"] == {"packages": packages, "pip_check": False}
    assert request["entrypoint_num_gpus"] == 1
    assert request["entrypoint_resources"] == {"driver": 1}
    assert "entrypoint_num_cpus" not in request
    named = plan_submission(config, run_name="b", profile=PROFILE)
    assert (named.submission_id, named.metadata["scpo_out"]) == ("b", "/mnt/scpo/runs/b")


@pytest.mark.parametrize(
    "line", ["peft", "peft>=0.19", "peft==0.*", "git+https://h/x", "-r a.txt"]
)
def test_requirements_must_be_pinned(config: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "pins.txt").write_text(f"torch==2.13.0\n{line}\n")
    with pytest.raises(ValueError, match=r"must be name==version.*Pin it"):
        plan_submission(config, profile=PROFILE)


def test_missing_requirements_or_folder_are_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="requirements: no such file"):
        plan_submission(config, profile=PROFILE)
    with pytest.raises(ValueError, match=r"needs an output folder.*--profile"):
        plan_submission(config)


@pytest.mark.parametrize(
    ("written", "override", "expected"),
    [
        ("countries: [France]", [], ["cache=/mnt/runs/cache"]),
        ("cache: runs/cache", [], ["cache=/mnt/runs/cache"]),
        ("cache: /mnt/fast", [], []),
        ("cache: ${CACHE}", [], []),
        ("cache: runs/cache", ["cache=/mnt/own"], ["cache=/mnt/own"]),
        ("cache: /mnt/fast", ["cache=own"], ["cache=own", "cache=/mnt/runs/cache"]),
        ("- no mapping", [], ["cache=/mnt/runs/cache"]),
    ],
)
def test_cache_of_reference_rewards_is_one_that_every_node_sees(
    config: Path, tmp_path: Path, written: str, override: list[str], expected: list[str]
) -> None:
    config.write_text(written)
    planned = plan_submission(config, out="/mnt/runs/a", overrides=override)
    settings = planned.entrypoint[8:]
    assert [setting for setting in settings if setting != "--set"] == expected


def checked(config: Path, **options: object) -> Submission:
    return check_package(plan_submission(config, out="/mnt/x", **options))[0]


def test_a_configuration_that_git_ignores_is_sent_since_it_is_named(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / ".gitignore").write_text("*.yaml\n")
    config.with_name("other.yaml").touch()
    package = check_package(plan_submission(config, out="/mnt/x"))[1]
    assert list(package.files) == ["sweeps/configs/prism.yaml"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("data: {path: data}", "reads data, but there is no such file here"),
        ("data: {path: pairs.jsonl}", "reads pairs.jsonl, but there is no such file here"),
        ("data: {path: runs/a}", r"reads runs/a, but runs/a/interactions.parquet is not sent"),
        ("data: {vetted: {file: users.txt}}", "reads users.txt, but there is no such file here"),
        ("global_model: {name: model}", "reads model, but model/model.safetensors is not sent"),
        ("data: {path: ../x}", "outside the working directory and is not sent"),
        ("cache: 's3://K:SECRETSECRET@b'", "line 1: cache: must carry no credentials"),
        ("data: {path: '${HF_TOKEN}'}", "data.path: the secret HF_TOKEN must not become part"),
    ],
)
def test_what_the_job_would_lack_is_refused(
    config: Path, tmp_path: Path, written: str, message: str
) -> None:
    for name in ("runs/a/interactions.parquet", "model/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    config.write_text(written)
    with pytest.raises(ValueError, match=message):
        checked(config)


def path_settings(kind: type[Config]) -> Iterator[tuple[str, ...]]:
    """Yield the settings that are paths of files that are read."""
    for name, setting in kind.model_fields.items():
        kinds = (setting.annotation, *get_args(setting.annotation))
        for inner in kinds:
            if isinstance(inner, type) and issubclass(inner, Config):
                yield from ((name, *rest) for rest in path_settings(inner))
        if "expanduser" in repr((setting.annotation, setting.metadata)) and name != "cache":
            yield (name,)


def test_every_path_of_a_configuration_is_known() -> None:
    assert set(path_settings(SweepConfig)) == {*submission._PATHS}


def test_what_is_sent_or_elsewhere_is_no_fault(config: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    config.write_text("data: {path: pairs.jsonl}\nglobal_model: {name: org/model}\n")
    assert checked(config).needed == ("sweeps/configs/prism.yaml", "pairs.jsonl")
    config.write_text("data: {path: /mnt/d}\nglobal_model: {backbone: '${X:-.venv/m}'}\n")
    assert checked(config).needed == ("sweeps/configs/prism.yaml",)


def test_links_without_end_are_not_followed(config: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "sweeps" / "up").symlink_to("../..")
    (tmp_path / "configs").symlink_to("sweeps/configs")  # ends, and is followed
    submission = checked(config)
    assert set(submission.excludes[-2:]) == {"/here", "/sweeps/up"}
    files = list_package(tmp_path, submission.excludes).files
    assert sorted(files) == ["configs/prism.yaml", "sweeps/configs/prism.yaml"]


def test_what_is_too_large_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_MAX_BYTES", 2**20)
    (tmp_path / "noise.csv").write_bytes(bytes(3 * 2**20))
    with pytest.raises(ValueError, match=r"1 MiB at most.*largest: noise.csv \(3 MiB\)"):
        checked(config)
    (tmp_path / "noise.csv").unlink()
    checked(config)


@pytest.mark.parametrize("key", ["training.hf_token=abc", "x.db_password=abc", "cache=s3://a:b@c"])
def test_a_secret_is_not_part_of_the_job_s_command(config: Path, key: str) -> None:
    with pytest.raises(ValueError, match="a command line must carry no secret"):
        checked(config, overrides=[key])


def test_links_to_nothing_and_pipes_are_left_out(config: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    os.mkfifo(tmp_path / "pipe")
    package = list_package(tmp_path, ())
    assert sorted(package.left_out["links to nothing, or pipes"]) == ["gone.py", "pipe"]
    assert not {"gone.py", "pipe"} & package.files.keys()
    assert "2 links to nothing, or pipes" in package.summary()
