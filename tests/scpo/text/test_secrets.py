"""Secrets are known by name and by shape, and masked; what is none stays."""

import random
import string

import pytest

from scpo.text.secrets import has_secret, has_token, is_random, is_secret_name, mask_secrets


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


@pytest.mark.parametrize(
    "token",
    [
        *("ghp_" + "aB3" * 12, "github_pat_" + "aB3" * 12, "glpat-" + "aB3-" * 6),
        *("sk-proj-" + "aB3" * 9, "ASIA" + "ABCD1234EFGH5678", "xoxb-1234567890-abc"),
        *("AIza" + "aB3-_" * 7, "ya29." + "aB3" * 9, "npm_" + "aB3" * 12, "pypi-" + "aB3_" * 12),
        *("sk_live_" + "aB3" * 8, "SG." + "aB3" * 8 + "." + "aB3" * 8, "dop_v1_" + "a1" * 32),
        *("eyJ" + "hbGci1" * 3 + ".eyJ" + "zdWIi1" * 3 + "." + "aB3_" * 6, "hf_" + "aB3" * 12),
        *(
            "-----BEGIN EC " + "PRIVATE KEY-----",
            "hooks.slack.com/services/" + "T0/B0/" + "aB" * 9,
        ),
    ],
)
def test_tokens_of_services(token: str) -> None:
    assert has_token(f"a = '{token}'")
    assert mask_secrets(f"say {token}.", {}).startswith("say ***")
    assert not has_token(token[: len(token) // 3])


def test_a_private_key_is_masked_with_its_body() -> None:
    head, end = ("-----" + word + " RSA " + "PRIVATE KEY-----" for word in ("BEGIN", "END"))
    for key in (f"{head}\nMIIEab+/=\n0a\n{end}", f"{head}\\nMIIEab+/=\\n0a", f"{head} MIIEab+/="):
        assert "MIIE" not in mask_secrets(f"refused: {key}", {})


def test_what_files_keep_beside_tokens() -> None:
    for text in (
        "machine example.org login me password open-sesame",
        "    client-key-data: " + "aB3+" * 8,
        '{"auth": "' + "aB3=" * 6 + '"}',
        "AWS_SECRET_ACCESS_KEY=" + "aB3/" * 10,
        "url = postgres://me:open-sesame@example.org/x",
    ):
        assert has_token(text)
    for text in ("url = f'https://{user}:{password}@host'", "postgres://me:***@host", "a@b:c@d"):
        assert not has_token(text)


def test_random_runs_are_no_names() -> None:
    draw = random.Random(0)
    letters = string.ascii_letters + string.digits
    drawn = ["".join(draw.choices(letters, k=40)) for _ in range(1000)]
    assert sum(map(is_random, drawn)) > 930
    for text in (
        *("0123456789abcdef" * 4, "0123456789ABCDEF" * 2, "a" * 99, "data/prism/utterances.jsonl"),
        *(
            "DeepSeekR1DistillQwen32BInstruct",
            "meta-llama/Llama-3.1-8B-Instruct",
            "1234567890" * 4,
        ),
        *("/mnt/Data2/Runs7/Model13B/Seed4/checkpoint100", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    ):
        assert not is_random(text)


def test_values_of_the_environment_are_masked() -> None:
    values = {"MY_PASS": "correct horse", "HF_HOME": "/hf/home", "A_KEY": "short"}
    assert mask_secrets("correct horse in /hf/home, short", values) == "*** in /hf/home, short"
