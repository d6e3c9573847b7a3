"""What a job gets of a folder: what git tracks, what is named, and never a secret."""

import subprocess
from pathlib import Path

import pytest

from cluster.jobs import sent_files
from cluster.jobs.package import Package, check_package, list_package
from cluster.jobs.sent_files import holds_token, staged
from cluster.jobs.submission import EXCLUDES, plan_submission

TOKEN = "hf_" + "aB3" * 12
# 60 files by name, none of which may ever be sent; those below hold a secret under another name.
SECRETS = """
.env .env.local prod.env id_rsa id_ed25519 deploy/id_ecdsa .ssh/config .git-credentials
.docker/config.json .dockercfg .kube/config kubeconfig.yaml hf_token.txt .huggingface/token
huggingface/token .netrc _netrc .pypirc .npmrc .yarnrc.yml .aws/credentials .aws/config
.azure/accessTokens.json .config/gcloud/credentials.db gcloud/key service-account.json
my_service_account_key.json firebase-adminsdk-1.json application_default_credentials.json
server.pem client.p12 cert.pfx tls.key site.crt signing.asc store.jks vault.kdbx home.ovpn
.bash_history .python_history .zsh_history .psql_history .pgpass .my.cnf .s3cfg .boto
.gnupg/secring.gpg .htpasswd wandb/settings .ipynb_checkpoints/a-checkpoint.ipynb kaggle.json
.kaggle/kaggle.json api_key.txt openai_api_key secrets.yaml client_secret_1.json passwords.txt
terraform.tfstate prod.tfvars rclone.conf cookies.txt auth_token.json
""".split()
CONTENTS = {
    "notes.md": f"token: {TOKEN}",
    "deploy.sh": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "ci.yaml": "key: AKIA" + "ABCDEFGHIJKLMNOP",
    "hook.py": "URL = 'https://hooks.slack.com/services/" + "T00/B00/abcdefghij123456'",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with everything tracked, secrets too, and a configuration that is not."""
    monkeypatch.chdir(tmp_path)
    for name in ("scpo/a.py", "tokenizer.json", "a/tokens.py", *SECRETS):
        write(tmp_path / name, "x")
    for name, text in CONTENTS.items():
        write(tmp_path / name, text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "--force", "--all")
    write(tmp_path / "sweep.yaml", "countries: [France]\ndata: {path: pairs.jsonl}\n")
    write(tmp_path / "pairs.jsonl", "{}\n")
    write(tmp_path / "untracked.py", "x")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def checked(*included: str) -> Package:
    return check_package(plan_submission(Path("sweep.yaml"), out="/mnt/x", included=included))[1]


def test_what_git_tracks_and_what_is_named_is_sent_but_no_secret(folder: Path) -> None:
    package = checked()
    assert list(package.files) == [
        *("a/tokens.py", "pairs.jsonl", "scpo/a.py", "sweep.yaml", "tokenizer.json")
    ]
    assert len(SECRETS) >= 60
    assert sorted(package.left_out["that look like secrets"]) == sorted([*SECRETS, *CONTENTS])
    assert package.left_out["untracked by git"] == ["untracked.py"]
    told = f"Left out: {len(SECRETS) + 4} that look like secrets, 1 untracked by git"
    assert package.summary().startswith(f"Sent: 5 files, 0.0 MiB. {told}")


def test_a_token_far_into_a_large_file_is_found(folder: Path) -> None:
    for number, before in enumerate((3 << 20, (1 << 20) - 9)):  # the second lies across two blocks
        write(folder / f"log-{number}.txt", "x " * (before // 2) + TOKEN)
    git(folder, "add", "--all")
    assert not {"log-0.txt", "log-1.txt"} & {*checked().files}


def test_the_same_files_are_no_secret_s_outside_of_git(folder: Path) -> None:
    (folder / ".git").rename(folder.parent / "elsewhere")
    package = list_package(folder, EXCLUDES)
    assert not {*package.files} & {*SECRETS, *CONTENTS}
    assert "untracked.py" in package.files


def test_more_is_sent_by_name(folder: Path) -> None:
    for name in ("data/a.csv", "data/.env", "model/weights.safetensors"):
        write(folder / name, "x")
    assert {"untracked.py", "data/a.csv", "model/weights.safetensors"} <= {
        *checked("untracked.py", "data", "model").files
    }
    assert "data/.env" not in checked("data").files
    with pytest.raises(ValueError, match=r"--include hf_token\.txt: it looks like a secret"):
        checked("hf_token.txt")
    for outside in ("..", "/etc/hostname", "no-such-file"):
        with pytest.raises(ValueError, match="must be a file or folder below"):
            checked(outside)


def test_links_that_lead_out_or_to_secrets_stay_here(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    write(outside, "x")
    (folder / "out.txt").symlink_to(outside)
    (folder / "key.txt").symlink_to("id_rsa")
    (folder / "again.py").symlink_to("scpo/a.py")
    git(folder, "add", "--all", ".")
    package = checked()
    assert {"again.py"} == {*package.files} & {"again.py", "out.txt", "key.txt"}
    assert package.left_out["links that lead out"] == ["out.txt"]
    assert "out.txt" in checked("out.txt").files


def test_ray_gets_copies_of_just_those_files(folder: Path) -> None:
    submission, package = check_package(plan_submission(Path("sweep.yaml"), out="/mnt/x"))
    with staged(submission, package.files) as sent:
        found = [file for file in sent.working_dir.rglob("*") if file.is_file()]
        names = sorted(file.relative_to(sent.working_dir).as_posix() for file in found)
        assert names == list(package.files)
        assert (sent.working_dir / "sweep.yaml").read_bytes() == Path("sweep.yaml").read_bytes()
        assert sent.excludes == ()
    assert not sent.working_dir.exists()


def test_only_the_repository_s_own_files_are_sent(folder: Path) -> None:
    """A gitlink without .gitmodules: a clone that was added as a whole."""
    inner = folder / "vendor"
    for name in ("tracked.py", "private.py", "sub/.git/config"):
        write(inner / name, "x")
    git(inner, "init", "-q")
    git(inner, "add", "tracked.py")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    git(inner, *who, "commit", "-q", "-m", "a")
    write(folder / "kept" / "a.py", "x")
    (folder / "link").symlink_to("kept")
    git(folder, "add", "vendor", "link")
    package = checked()
    assert not [name for name in package.files if name.startswith("vendor")]
    assert package.left_out["repositories inside this one"] == ["vendor"]
    assert "1 repositories inside this one" in package.summary()
    assert "link/a.py" in package.files
    package = checked("vendor")
    assert {"vendor/tracked.py", "vendor/private.py"} <= {*package.files}
    assert not [name for name in package.files if ".git" in Path(name).parts]
    assert package.left_out["repositories inside this one"] == []
    with pytest.raises(ValueError, match=r"--include \.git/config: what git keeps"):
        checked(".git/config")


def test_what_git_keeps_is_not_sent_outside_of_a_repository_either(folder: Path) -> None:
    (folder / ".git").rename(folder.parent / "moved")
    for name in (".git/config", "config.json", ".gitignore"):
        write(folder / "model" / name, "")
    write(folder / "sweep.yaml", "global_model: {name: model}\n")
    sent = [name for name in checked().files if name.startswith("model")]
    assert sent == ["model/config.json"]


@pytest.mark.parametrize("fault", ["refuses", "missing", "slow"])
def test_a_git_that_does_not_answer_is_no_missing_repository(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "refuses":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        words = "detected dubious ownership"
    elif fault == "missing":
        monkeypatch.setenv("PATH", str(folder))
        words = "No such file or directory: 'git'"
    else:
        monkeypatch.setattr(sent_files, "_GIT_LIMIT_S", 0)
        words = "no answer within 0 s"
    below = folder / "a"
    for place in (folder, below):
        with pytest.raises(
            ValueError, match=f"git does not list its files: .*{words}.* Make `git"
        ):
            list_package(place, EXCLUDES)


def test_all_is_untracked_in_a_new_repository(tmp_path: Path) -> None:
    write(tmp_path / "a.py", "x")
    git(tmp_path, "init", "-q")
    package = list_package(tmp_path, EXCLUDES)
    assert package.files == {}
    assert package.left_out["untracked by git"] == ["a.py"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_a_token_in_wide_characters_is_found(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "notes.md").write_text(f"token: {TOKEN}", encoding=encoding)
    assert holds_token(tmp_path / "notes.md")
