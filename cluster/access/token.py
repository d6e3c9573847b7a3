"""The cluster's token on this machine: found, private, and in use before Ray is imported.

Ray reads RAY_AUTH_TOKEN, then the file named by RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token, and
sends what it finds only with RAY_AUTH_MODE=token. It keeps both for as long as a process lives.
"""

import os
from pathlib import Path

MODE = "RAY_AUTH_MODE"
ADVICE = (
    "Put the cluster's token into ~/.ray/auth_token (mode 0600) or into a file named by "
    "RAY_AUTH_TOKEN_PATH. For a new cluster make one: "
    "(umask 077; ray get-auth-token --generate > /dev/null)"
)


def token_file() -> Path:
    """Return where Ray looks for the token, whether there is a file or not."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def use_token(*, required: bool) -> None:
    """Let Ray send the token; call this before anything imports Ray.

    Args:
        required: Refuse to go on without one. Otherwise a missing token is left to the cluster.

    Raises:
        RuntimeError: Others may read the token's file, or a token is required and there is none,
            or RAY_AUTH_MODE forbids it.
    """
    has_token = bool(os.environ.get("RAY_AUTH_TOKEN"))
    path = token_file()
    if not has_token and path.is_file():
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise RuntimeError(
                f"Nobody else may read the token, but {path} has mode {mode:04o}. "
                f"Run: chmod 600 {path}"
            )
        has_token = True
    if required and not has_token:
        raise RuntimeError(f"The cluster's token must be here, but there is no {path}. {ADVICE}")
    if required and os.environ.get(MODE, "token").lower() != "token":
        raise RuntimeError(
            f"A profile's cluster asks for a token, but {MODE}={os.environ[MODE]}. Unset {MODE}."
        )
    if has_token:
        os.environ.setdefault(MODE, "token")
