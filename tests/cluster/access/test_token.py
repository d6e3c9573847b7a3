"""The token on this machine: private, found, and in use."""

import os
from pathlib import Path

import pytest

from cluster.access.token import use_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that what use_token sets is taken back
        monkeypatch.delenv(name)
    return tmp_path


def write_token(path: Path, mode: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("t")
    path.chmod(mode)


def mode_in_use() -> str | None:
    return os.environ.get("RAY_AUTH_MODE")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_private_token_is_used(home: Path, mode: int) -> None:
    write_token(home / ".ray" / "auth_token", mode)
    use_token(required=True)
    assert mode_in_use() == "token"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
@pytest.mark.parametrize("required", [True, False])
def test_token_that_others_may_read_is_refused(home: Path, mode: int, required: bool) -> None:
    write_token(home / ".ray" / "auth_token", mode)
    with pytest.raises(RuntimeError, match=f"has mode {mode:04o}. Run: chmod 600 {home}"):
        use_token(required=required)


def test_named_file_counts_and_the_default_one_does_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_token(home / ".ray" / "auth_token", 0o644)
    write_token(home / "named", 0o600)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "named"))
    use_token(required=True)
    assert mode_in_use() == "token"


def test_token_in_the_environment_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    use_token(required=True)
    assert mode_in_use() == "token"


def test_missing_token_is_refused_where_it_is_required() -> None:
    with pytest.raises(RuntimeError, match=r"needs a token, but.*umask 077; ray get-auth-token"):
        use_token(required=True)
    use_token(required=False)
    assert mode_in_use() is None


def test_mode_that_sends_no_token_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_token(home / ".ray" / "auth_token", 0o600)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RuntimeError, match=r"RAY_AUTH_MODE=disabled\. Unset RAY_AUTH_MODE"):
        use_token(required=True)
    use_token(required=False)
    assert mode_in_use() == "disabled"
