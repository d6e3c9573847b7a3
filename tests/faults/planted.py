"""Secrets to plant: tokens of known shapes, and files that hold one by their name or content.

Every value is made when the tests run, so that no token stands in this project, and carries no
word by which it could be found but its own shape.
"""

import base64
import json
import random
import string

_LETTERS = string.ascii_letters + string.digits


def _draw(seed: object, length: int, letters: str = _LETTERS) -> str:
    return "".join(random.Random(str(seed)).choices(letters, k=length))


def _pem(kind: str) -> str:
    head = "-----BEGIN "
    return f"{head}{kind}-----\n{_draw(kind, 64)}\n-----END {kind}-----\n"


def tokens() -> dict[str, str]:
    """Return a token of each service, as it would stand in a file, by name."""
    hexadecimal = "0123456789abcdef"
    capitals = string.ascii_uppercase + string.digits
    jwt = ".".join("eyJ" + _draw(part, 24) for part in ("head", "body")) + "." + _draw("sum", 30)
    return {
        "GitHub": "ghp_" + _draw("gh", 36),
        "GitHub, fine-grained": "github_pat_" + _draw("pat", 59),
        "GitLab": "glpat-" + _draw("gl", 20),
        "GitLab, runner": "glrt-" + _draw("glrt", 20),
        "Hugging Face": "hf_" + _draw("hf", 34),
        "OpenAI": "sk-proj-" + _draw("oa", 48),
        "Anthropic": "sk-ant-api03-" + _draw("an", 60),
        "AWS": "AKIA" + _draw("aws", 16, capitals),
        "Google, key": "AIza" + _draw("goo", 35),
        "Google, access": "ya29." + _draw("ya", 40),
        "Slack": "xoxb-" + _draw("slack", 12, "0123456789") + "-" + _draw("sl", 24),
        "Slack, app": "xapp-1-" + _draw("app", 40),
        "Azure, key": f"AccountKey={_draw('az', 86)}==",
        "Azure, signature": f"https://a.blob.core.windows.net/b?sig={_draw('sig', 43)}%3D",
        "JSON web token": jwt,
        "RSA key": _pem("RSA " + "PRIVATE KEY"),
        "PGP key": _pem("PGP " + "PRIVATE KEY BLOCK"),
        "age key": "AGE-SECRET-KEY-1" + _draw("age", 58, capitals),
        "npm": "npm_" + _draw("npm", 36),
        "PyPI": "pypi-" + _draw("pypi", 60),
        "Docker Hub": "dckr_pat_" + _draw("dckr", 27),
        "Databricks": "dapi" + _draw("dapi", 32, hexadecimal),
        "Vault": "hvs." + _draw("hvs", 90),
        "Groq": "gsk_" + _draw("gsk", 52),
        "Replicate": "r8_" + _draw("r8", 37),
        "xAI": "xai-" + _draw("xai", 80),
        "Weights & Biases": "wandb_v1_" + _draw("wandb", 40),
        "Grafana": "glsa_" + _draw("glsa", 32) + "_" + _draw("g", 8, hexadecimal),
        "a URI with a password": f"postgres://me:{_draw('pg', 12)}@db.example.org/x",
        "a bucket with a key": f"s3://AK:{_draw('s3', 20)}@bucket/x",
    }


def core_of(token: str) -> str:
    """Return the part of a token that nothing may show."""
    parts = [
        part for part in token.replace("\n", " ").replace("=", " ").split() if "-----" not in part
    ]
    longest = max(parts, key=len)
    for sign in ("@", ":", "sig"):
        longest = longest.split(sign)[0] if sign == "@" else longest.rpartition(sign)[2]
    return longest[-12:].strip("=%3D") or longest


def secret_files() -> dict[str, str]:
    """Return files of a home or project folder that hold a password, by name."""
    named = (
        ".env .env.production deploy/.env.local prod.env .netrc _netrc .git-credentials"
        " .ssh/id_work id_rsa id_ed25519_server .kube/config kubeconfig cluster.kubeconfig"
        " .docker/config.json .aws/credentials .config/gcloud/access_tokens.db credentials.json"
        " client_secret_9.json"
        " my-service-account.json application_default_credentials.json .pypirc .npmrc .pgpass"
        " .huggingface/token hf_token.txt wandb/settings kaggle.json .bash_history .python_history"
        " notes/.ipynb_checkpoints/run-checkpoint.ipynb secrets.yaml terraform.tfstate prod.tfvars"
        " server.pem vault.kdbx rclone.conf cookies.txt .streamlit/secrets.toml .vault-token"
        " .jupyter/jupyter_server_config.json"
    ).split()
    return {name: f"password {_draw(name, 14)}\n" for name in named}


def innocent_files() -> dict[str, str]:
    """Return files of innocent names that hold a secret, by name."""
    held = tokens()
    notebook = {"cells": [{"outputs": [{"text": [f"token: {held['Hugging Face']}\n"]}]}]}
    key = base64.b64encode(held["RSA key"].encode()).decode()
    login = base64.b64encode(b"me:" + _draw("login", 16).encode()).decode()
    files = {
        "analysis.ipynb": json.dumps(notebook),
        "cluster.yaml": f"users:\n- user:\n    client-key-data: {key}\n",
        "setup.txt": f"machine example.org login me password {_draw('netrc', 14)}\n",
        "conf.json": json.dumps({"auths": {"https://example.org": {"auth": login}}}),
        "alembic.ini": f"url = {held['a URI with a password']}\n",
        "remotes.txt": f"https://me:{_draw('git', 20)}@github.com/me/it.git\n",
        "account.json": json.dumps({"type": "service_account", "private_key": held["RSA key"]}),
        "start.sh": f"export AWS_SECRET_ACCESS_KEY={_draw('secret', 40)}\n",
    }
    plain = [name for name in held if not name.startswith("a ")]
    return files | {f"file-{n}.py": f"X = '{held[name]}'\n" for n, name in enumerate(plain)}
