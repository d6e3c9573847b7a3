"""Connects to the dashboard of a running Ray cluster.

In: an address, http://host:8265, or none. Out: Ray's client. Ray's client has no time limit, so
the address is tried with a short one first. Ray itself reads the token: RAY_AUTH_MODE=token, and
the token in ~/.ray/auth_token or in a file named by RAY_AUTH_TOKEN_PATH.
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

START_ADVICE = (
    "Start the cluster, check host and port (8265 by default), or open a tunnel: "
    "ssh -L 8265:localhost:8265 HEAD."
)
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
CONNECT_TIMEOUT_S = 5.0
DOCTOR_JOB = "scpo_doctor"  # metadata of a job that only looks at the cluster
_MAX_ANSWER = 10_000  # bytes


def resolve_address(address: str | None) -> str:
    """Return the URL of the dashboard, without a trailing slash.

    Args:
        address: http://host:port or https://host:port; None for RAY_API_SERVER_ADDRESS, else
            RAY_ADDRESS, else http://127.0.0.1:8265.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: One of the variables names another address; Ray's client would silently
            prefer it.
    """
    variable = _variable()
    ambient = None if variable is None else os.environ[variable].rstrip("/")
    url = (address or ambient or DEFAULT_ADDRESS).rstrip("/")
    if address and ambient and ambient != url:
        raise RuntimeError(
            f"{variable} must be unset or equal to the address, because Ray prefers it, but "
            f"{variable}={ambient} and the address is {url}. Unset {variable}."
        )
    if not url.startswith(("http://", "https://")):
        origin = "the address" if address else variable
        raise ValueError(
            f"The address of the dashboard must be like http://host:8265, but {origin} is "
            f"{url!r}. Give --address, or set RAY_API_SERVER_ADDRESS."
        )
    return url


def describe_origin(address: str | None) -> str:
    """Return a sentence about where the address of the dashboard comes from."""
    where = "--address" if address else _variable() or "no option or variable, but the default"
    return f"The address is from {where}."


def _variable() -> str | None:
    """Return the name of the variable that Ray takes the address from."""
    return next((n for n in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS") if os.getenv(n)), None)


@contextmanager
def connect(address: str | None) -> Iterator[JobSubmissionClient]:
    """Give Ray's client of a cluster; a refused token or lost connection says what to do.

    Raises:
        ValueError: The address does not begin with http:// or https://.
        RuntimeError: No Ray dashboard answers within 5 s; it refuses the token, or asks for none
            although this process has one; or the connection is lost.
    """
    url = resolve_address(address)
    is_locked = asks_for_token(url, f"{describe_origin(address)} {START_ADVICE}")
    if not is_locked and os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        raise RuntimeError(
            f"The cluster at {url} must ask for a token, but it answers without one: anyone who "
            "reaches it can run code on it. Restart it with RAY_AUTH_MODE=token, or set "
            "RAY_AUTH_MODE=disabled here to use it anyway."
        )
    try:
        yield JobSubmissionClient(url)
    except AuthenticationError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise RuntimeError(
            f"The cluster at {url} needs its token, but got: {reason}. Set "
            "RAY_AUTH_MODE=token, and put the cluster's token into ~/.ray/auth_token (mode 0600) "
            "or into a file named by RAY_AUTH_TOKEN_PATH."
        ) from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        raise RuntimeError(
            f"Lost the connection to the cluster at {url}: {error}. Submitted jobs keep running: "
            "try again when the cluster answers."
        ) from error


def asks_for_token(url: str, advice: str = START_ADVICE) -> bool:
    """Return whether the Ray dashboard at a URL asks for a token.

    Raises:
        RuntimeError: Nothing answers within 5 s, or what answers is not a Ray dashboard.
    """
    is_locked = False
    try:
        # `resolve_address` lets http:// and https:// pass alone.
        version = f"{url}/api/version"
        with urllib.request.urlopen(version, timeout=CONNECT_TIMEOUT_S) as answer:  # nosec B310
            is_ray = "ray_version" in json.loads(answer.read(_MAX_ANSWER))
    except urllib.error.HTTPError as error:
        # Without a token a locked dashboard answers 401; Ray's client will send the token.
        is_ray = is_locked = error.code in (401, 403)
        error.close()
    except (ValueError, http.client.HTTPException):  # no JSON, no port, no host
        is_ray = False
    except OSError as error:
        raise RuntimeError(
            f"A Ray dashboard must answer at {url} within {CONNECT_TIMEOUT_S:.0f} s, but got: "
            f"{error}. {advice}"
        ) from error
    if not is_ray:
        raise RuntimeError(
            f"A Ray dashboard must answer at {url}, but another service did. Give the dashboard's "
            "port (8265 by default), not the port of the cluster (6379) or Ray Client (10001)."
        )
    return is_locked
