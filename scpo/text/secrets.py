"""Secrets in texts: found by their shape or their name, and masked where a text is shown.

A configuration, a command line and a submitted job stand in files, logs and lists of processes,
so none of them may carry a password or a token.
"""

import os
import re
from collections.abc import Mapping

_PARTS = r"token|secret|passw(?:or)?d|passphrase|credential|api_?key|private_?key"
_WORDS = r"key|keys|pass|pwd|pw|auth|pat|creds|cookie|dsn"
_NAME = re.compile(rf"(?:{_PARTS})(?!izer)|(?:^|[^a-z])(?:{_WORDS})(?:$|[^a-z])", re.IGNORECASE)
_COUNTS = re.compile(r"(?:max|min|num|new)_\w*tokens|tokens_per", re.IGNORECASE)

# The groups before and after what is masked; a slash may stand in the secret key of a bucket.
_URI_USER = r"(?P<b1>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+(?=@)"
_WEB_USER = r"(?P<b2>\bhttps?://)[^\s/@]+(?=@)"
_BUCKET_USER = r"(?P<b3>\b(?:s3|s3a|gs|gcs|az|abfss?)://)(?:[^\s@]*:[^\s@]*|[^\s/@]+)(?=@)"
_SETTING = (
    r"(?P<b4>(?:^|[?&;,\s])(?:password|passwd|pwd|token|access_token|auth_token|secret|api_?key"
    r"|access_key|secret_key|sig|signature|x-amz-signature|x-amz-security-token)=)[^&;\s]+"
)
_TOKEN = (
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35})"
    r"|-----BEGIN[ A-Z]*PRIVATE KEY-----"
)
_SECRET = re.compile(
    "|".join((_URI_USER, _WEB_USER, _BUCKET_USER, _SETTING, _TOKEN)), re.IGNORECASE
)
_SHORTEST = 8  # characters of a variable's value that is masked


def is_secret_name(name: str) -> bool:
    """Return whether a variable or setting of this name is likely to hold a secret."""
    is_harmless = name in ("PWD", "OLDPWD") or _COUNTS.search(name)
    return _NAME.search(name) is not None and not is_harmless


def has_secret(text: str) -> bool:
    """Return whether a text carries a password in a URI, a token, or `password=...`."""
    return _SECRET.search(text) is not None


def mask_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text with `***` for each secret, those of the environment's variables too."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST and is_secret_name(name) and "/" not in value[:1]:
            text = text.replace(value, "***")
    return _SECRET.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return next((group for group in found.groups() if group), "") + "***"
