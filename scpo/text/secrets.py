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
_COUNTS = re.compile(r"(?:max|min|num|new)_\w{0,40}tokens|tokens_per", re.IGNORECASE)

# The groups before and after what is masked; a slash may stand in the secret key of a bucket. What
# may begin anywhere in a run of characters is bounded: a long run would take quadratic time.
_URI_USER = r"(?P<b1>\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@:]*:[^\s/@]+(?=@)"
_WEB_USER = r"(?P<b2>\bhttps?://)[^\s/@]+(?=@)"
_BUCKET_USER = (
    r"(?P<b3>\b(?:s3|s3a|gs|gcs|az|abfss?)://)"
    r"(?:[^\s@:]*+:(?:(?!://)[^\s@])*+|[^\s/@]+)(?=@)"
)
_SETTING = (
    r"(?P<b4>(?:^|[?&;,\s])(?:password|passwd|pwd|token|access_token|auth_token|secret|api_?key"
    r"|access_key|secret_key|sig|signature|x-amz-signature|x-amz-security-token)=)[^&;\s]+"
)
# Of Hugging Face, GitHub, GitLab, OpenAI and Anthropic, AWS, Slack, Google, npm, PyPI, Stripe,
# SendGrid, DigitalOcean, Weights & Biases' newer keys, Docker Hub, Databricks, Vault, Groq,
# Replicate, xAI, Perplexity, Grafana, Azure, age, JSON web tokens, private keys.
_TOKEN = (  # nosec B105  # shapes, no token
    r"\b(?:(?:hf|api_org)_[A-Za-z0-9]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|gl(?:pat|rt|dt|ptt|cbt|soat)-[\w-]{16,}"
    r"|sk-[\w-]{20,}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|(?:xox[abeoprs]|xapp)-[\w-]{10,}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{40,}"
    r"|[rs]k_(?:live|test)_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|do[op]_v1_[a-f0-9]{32,}"
    r"|wandb_v1_\w{20,}|dckr_[po]at_\w{20,}|dapi[a-f0-9]{32}|hv[sbr]\.[\w-]{24,}|gsk_\w{40,}"
    r"|r8_\w{30,}|xai-[\w-]{40,}|pplx-\w{30,}|gl(?:sa|c)_\w{30,}|AGE-SECRET-KEY-1[0-9A-Z]{50,}"
    r"|eyJ[\w-]{10,1000}\.eyJ[\w-]{10,}\.[\w-]{10,})"
    r"|-----BEGIN[ A-Z]*PRIVATE KEY(?: BLOCK)?-----[\w+/=\s\\]*(?:-----END[ A-Z]*-----)?"
    r"|\bhooks\.slack\.com/services/[\w/]{20,}"
    r"|\b(?:Account|SharedAccess)Key=[\w+/]{40,}"
)
# In files beside tokens: URIs with passwords, and what curl, kubectl, Docker and AWS keep.
_KEPT = (
    r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/@:\"'{}<>$]*:[^\s/@\"'{}<>$*]{8,}@[\w.-]+"
    r"|\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S+|\bclient-key-data:\s*[\w+/=]{24,}"
    r"|\"auth\":\s*\"[\w+/=]{16,}\"|[?&]sig=[\w%+/-]{32,}"
    r"|\baws_secret_access_key[\"']?\s*[:=]\s*[\"']?[\w/+]{40}"
)
_IN_FILE = re.compile(f"{_TOKEN}|(?i:{_KEPT})")
_SECRET = re.compile(
    "|".join((_URI_USER, _WEB_USER, _BUCKET_USER, _SETTING, _TOKEN)), re.IGNORECASE
)
_LONG_RUN = re.compile(r"[A-Za-z0-9+/]{24,}")
_SAME_KIND = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_CHANGES = 0.45  # of kinds in a run: some 0.6 in random ones, 0.3 in CamelCase
_SHORTEST = 8  # characters of a variable's value that is masked


def is_secret_name(name: str) -> bool:
    """Return whether a variable or setting of this name is likely to hold a secret."""
    is_harmless = name in ("PWD", "OLDPWD") or _COUNTS.search(name)
    return _NAME.search(name) is not None and not is_harmless


def has_secret(text: str) -> bool:
    """Return whether a text carries a password in a URI, a token, or `password=...`."""
    return _SECRET.search(text) is not None


def is_random(text: str) -> bool:
    """Return whether a text holds a run of characters that nobody would write by hand.

    Small and capital letters and digits change too often for a name or a path; hashes, which are
    of small letters and digits, are none.
    """
    for run in _LONG_RUN.findall(text):
        kinds = _SAME_KIND.findall(run.replace("/", ""))
        num_numbers = sum(kind.isdigit() for kind in kinds)
        is_mixed = run.upper() != run != run.lower() and num_numbers >= 3
        if is_mixed and len(kinds) >= _CHANGES * len(run):
            return True
    return False


def has_token(text: str) -> bool:
    """Return whether the text of a file holds a token, key or password of a kind that is known."""
    return _IN_FILE.search(text) is not None


def mask_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text with `***` for each secret, those of the environment's variables too."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST and is_secret_name(name) and "/" not in value[:1]:
            text = text.replace(value, "***")
    return _SECRET.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    return next((group for group in found.groups() if group), "") + "***"
