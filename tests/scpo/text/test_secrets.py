"""Secrets are known by name and by shape, and masked; what is none stays."""

import pytest

from scpo.text.secrets import has_secret, is_secret_name, mask_secrets


@pytest.mark.parametrize(
    "name",
    [
        *(
            "HF_TOKEN",
            "MY_PASS",
            "HF_AUTH",
            "GITHUB_PAT",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD",
        ),
        *("aws_secret_access", "API_KEY", "wandb_api_key", "apiKey", "githubToken", "CREDENTIALS"),
        *("AWS_CREDS", "SENTRY_DSN", "SESSION_COOKIE", "SSH_PASSPHRASE", "training.hf_token"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "PYTHONPATH", "PWD", "OLDPWD", "HOME", "HF_HOME", "TOKENIZERS_PARALLELISM"),
        *("encoder.max_tokens", "training.max_tokens_per_forward", "search.seed", "COMPASS_DIR"),
        *("MONKEYS", "AUTHOR", "PATTERN", "data.country_column", "SCPO_BACKBONE"),
    ],
)
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://KEY:SEC/RET@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY@bucket", "s3://***@bucket"),
        ("postgres://me:pw@host:5432/db", "postgres://***@host:5432/db"),
        ("https://me:pw@host/x", "https://***@host/x"),
        ("see https://ghp_x@github.com", "see https://***@github.com"),
        ("https://h/x?sig=abc%3d&v=1", "https://h/x?sig=***&v=1"),
        ("host=h password=pw user=u", "host=h password=*** user=u"),
        ("cache=hf_abcdefghijklmnopqrst", "cache=***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
    ],
)
def test_secrets_by_shape(text: str, masked: str) -> None:
    assert has_secret(text)
    assert mask_secrets(text, {}) == masked


@pytest.mark.parametrize(
    "text",
    [
        *("org/model@main", "http://127.0.0.1:8265/a@b", "s3://bucket/a:b", "max_tokens=96"),
        *("/data/lr=1e-5/model", "a=b", "ssh://git@host/x", "user@host", "gs://b/x@y", "C:\\x"),
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert not has_secret(text)
    assert mask_secrets(text, {}) == text


def test_values_of_the_environment_are_masked() -> None:
    values = {"MY_PASS": "correct horse", "HF_HOME": "/hf/home", "A_KEY": "short"}
    assert mask_secrets("correct horse in /hf/home, short", values) == "*** in /hf/home, short"
