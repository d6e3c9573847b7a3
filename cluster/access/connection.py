"""Finds the dashboard of a running Ray cluster and connects to it, or says what to do.

In: an address, http://host:8265, or none. Out: its URL and Ray's client. Ray's client sends
without a time limit, so the address is tried with a short one first. A token is Ray's own affair:
RAY_AUTH_MODE=token, and the token in ~/.ray/auth_token or a file named by RAY_AUTH_TOKEN_PATH.
"""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

START = (
    "Start the cluster, check host and port (8265 unless changed), or open the tunnel: "
    "ssh -L 8265:localhost:8265 HEAD."
)
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
CONNECT_TIMEOUT_S = 5.0


def resolve_address(address: str | None) -> str:
    """Return the dashboard's URL that Ray's client will use, without a trailing slash.

    Args:
        address: http://host:port or https://host:port; None takes RAY_API_SERVER_ADDRESS, then
            RAY_ADDRESS, then http://127.0.0.1:8265.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: One of the two variables names another address; Ray's client would silently
            prefer it.
    """
    variable = next((n for n in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if os.getenv(n)), None)
    ambient = None if variable is None else os.environ[variable].rstrip("/")
    url = (address or ambient or DEFAULT_ADDRESS).rstrip("/")
    if address and ambient and ambient != url:
        raise RuntimeError(
            f"{variable} must be unset or equal to the address, because Ray prefers it, but got "
            f"{variable}={ambient} and the address {url}. Unset {variable}."
        )
    if not url.startswith(("http://", "https://")):
        origin = "the address" if address else variable
        raise ValueError(
            f"The address must be the dashboard's, http://host:8265, but {origin} is {url!r}. "
            "Give --address, or set RAY_API_SERVER_ADDRESS."
        )
    return url


def connect(address: str | None) -> tuple[str, JobSubmissionClient]:
    """Return the dashboard's URL and a client that it has accepted.

    Args:
        address: See `resolve_address`.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: Nothing answers within 5 s, what answers is no Ray dashboard, it refuses the
            token, or it asks for none although this process has one.
    """
    url = resolve_address(address)
    is_locked = _probe(url)
    if not is_locked and os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        raise RuntimeError(
            f"The cluster at {url} must ask for its token, but it answers anybody, and whoever "
            "reaches it can run code on it. Start it again with RAY_AUTH_MODE=token; or set "
            "RAY_AUTH_MODE=disabled here to go on all the same."
        )
    with explained_errors(url):
        return url, JobSubmissionClient(url)


def check_dashboard(address: str, start: str) -> None:
    """Raise the errors of `connect` that a look at the dashboard can tell.

    Args:
        address: The dashboard's URL.
        start: How the cluster is started and reached, for the message.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: Nothing answers within 5 s, or what answers is no Ray dashboard.
    """
    _probe(resolve_address(address), start)


@contextmanager
def explained_errors(url: str) -> Iterator[None]:
    """Turn a refused token and a lost connection into a RuntimeError that says what to do.

    Args:
        url: The dashboard's URL, for the message.

    Raises:
        RuntimeError: The block raised one of the two.
    """
    try:
        yield
    except AuthenticationError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise RuntimeError(
            f"The cluster at {url} must be given its token, but got: {reason}. Set "
            "RAY_AUTH_MODE=token, and put the cluster's token into ~/.ray/auth_token (mode 0600) "
            "or into a file named by RAY_AUTH_TOKEN_PATH."
        ) from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        raise RuntimeError(
            f"The cluster at {url} must stay reachable, but got: {error}. A submitted job goes on "
            "without this connection: try again when the cluster answers."
        ) from error


def _probe(url: str, start: str = START) -> bool:
    """Tell whether the Ray dashboard at `url` asks for a token.

    Raises:
        RuntimeError: No Ray dashboard answers there in time.
    """
    is_locked = False
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=CONNECT_TIMEOUT_S) as response:
            is_ray = "ray_version" in json.load(response)
    except urllib.error.HTTPError as error:
        # Without a token a locked dashboard answers 401; Ray's client will send the token.
        is_ray = is_locked = error.code in (401, 403)
        error.close()
    except (json.JSONDecodeError, UnicodeDecodeError, http.client.HTTPException):
        is_ray = False
    except OSError as error:
        raise RuntimeError(
            f"A Ray dashboard must answer at {url} within {CONNECT_TIMEOUT_S:.0f} s, but got: "
            f"{error}. {start}"
        ) from error
    if not is_ray:
        raise RuntimeError(
            f"A Ray dashboard must answer at {url}, but another service did. Give the dashboard's "
            "port (8265 unless changed), not that of the cluster (6379) or of Ray Client (10001)."
        )
    return is_locked
