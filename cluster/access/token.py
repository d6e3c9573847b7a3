"""Finds the cluster's token on this machine, and makes Ray send it.

Ray reads RAY_AUTH_TOKEN, then the file named by RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token, and
sends the token only with RAY_AUTH_MODE=token. It reads both once per process.
"""

import os
from pathlib import Path

_MODE = "RAY_AUTH_MODE"
_ADVICE = (
    "Put the cluster's token into ~/.ray/auth_token (mode 0600) or into a file named by "
    "RAY_AUTH_TOKEN_PATH. For a new cluster make one: "
    "(umask 077; ray get-auth-token --generate > /dev/null)"
)


def use_token(*, required: bool) -> None:
    """Make Ray send the token; call this before anything imports Ray.

    Raises:
        RuntimeError: Others may read the token's file, or a token is required but there is none,
            or RAY_AUTH_MODE forbids it.
    """
    has_token = bool(os.environ.get("RAY_AUTH_TOKEN"))
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not has_token and path.is_file():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise RuntimeError(
                f"Only you may read the cluster's token, but {path} has mode {mode:04o}. "
                f"Run: chmod 600 {path}"
            )
        has_token = True
    if required and not has_token:
        raise RuntimeError(f"The cluster needs a token, but there is no {path}. {_ADVICE}")
    if required and os.environ.get(_MODE, "token").lower() != "token":
        raise RuntimeError(
            f"The cluster needs a token, but {_MODE}={os.environ[_MODE]}. Unset {_MODE}."
        )
    if has_token:
        os.environ.setdefault(_MODE, "token")
