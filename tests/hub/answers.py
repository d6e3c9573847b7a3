"""What the hub says: a request comes in, status, headers and body go out.

Anonymous requests for what does not exist get 401 as on the hub, whose clients then speak of a
missing repository. Information and the tree of a gated repository are public, its files are not.
No answer names a xet hash, so the clients download by plain HTTP.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.repositories import Kind, Repository, StoredFile

READER_TOKEN = "hf_reader"  # may read the gated repositories
STRANGER_TOKEN = "hf_stranger"  # is known, and may not
DATE = "2024-01-01T00:00:00.000Z"

API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<ask>revision|tree|paths-info|refs|commits)(?:/(?P<revision>[^/]+))?(?:/(?P<path>.+))?)?"
)
FILE = re.compile(
    r"/(?P<datasets>datasets/)?(?P<name>[^/]+/[^/]+)/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)"
)
STORED = re.compile(
    r"/storage/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/(?P<commit>\w+)/(?P<path>.+)"
)


@dataclass(frozen=True)
class Request:
    """A request to the hub; `path` has the query, header names are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)


@dataclass(frozen=True)
class Answer:
    """An answer of the hub."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """The hub refuses, with a status and the code that its clients read."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        codes = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = Answer(status, json.dumps({"error": message}).encode(), codes | named)


def answer(root: Path, request: Request, storage: str) -> Answer:
    """Return what the hub says to a request.

    Args:
        root: Folder of the repositories.
        request: The request.
        storage: Address that large files are redirected to: another host than the hub's, as in
            life, so that clients do not send their token there.
    """
    path = unquote(urlsplit(request.path).path)
    raw = urlsplit(request.path).path  # a branch such as refs/pr/1 comes quoted
    try:
        if path == "/api/whoami-v2":
            return _who(request)
        if found := STORED.fullmatch(path):
            kind: Kind = "models" if found["kind"] == "models" else "datasets"
            stored = Repository(root, kind, found["name"]).find(found["commit"], found["path"])
            return _content(request, stored) if stored else Answer(404)
        if found := API.fullmatch(raw):
            return _ask_api(root, request, found)
        if found := FILE.fullmatch(raw):
            return _send_file(root, request, found, storage)
        raise Refusal(404, "", f"Sorry, this page does not exist: {path}")
    except Refusal as refusal:
        return refusal.answer


def _who(request: Request) -> Answer:
    if request.token not in (READER_TOKEN, STRANGER_TOKEN):
        raise Refusal(401, "", "Invalid credentials in Authorization header")
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}}
    who = {"type": "user", "id": "0", "name": request.token.removeprefix("hf_"), "orgs": []}
    return _json(who | {"auth": access})


def _open(root: Path, request: Request, kind: Kind, name: str) -> Repository:
    """Return an existing repository, for a token that is good or absent."""
    if request.token not in (None, READER_TOKEN, STRANGER_TOKEN):
        raise Refusal(401, "", "Invalid credentials in Authorization header")
    repository = Repository(root, kind, name)
    if not repository.exists():
        raise Refusal(404 if request.token else 401, "RepoNotFound", "Repository not found")
    return repository


def _commit_of(repository: Repository, revision: str) -> str:
    commit = repository.resolve(unquote(revision))
    if commit is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
    return commit


def _ask_api(root: Path, request: Request, found: re.Match[str]) -> Answer:
    kind: Kind = "models" if found["kind"] == "models" else "datasets"
    repository = _open(root, request, kind, found["name"])
    if found["ask"] == "refs":
        return _json(_refs(repository))
    commit = _commit_of(repository, found["revision"] or "main")
    asked: dict[str | None, Callable[[], Any]] = {
        None: lambda: _info(repository, commit, request.query),
        "revision": lambda: _info(repository, commit, request.query),
        "tree": lambda: _tree(repository, commit, unquote(found["path"] or ""), request.query),
        "paths-info": lambda: _paths(repository, commit, parse_qs(request.body.decode())),
        "commits": lambda: _commits(repository, commit),
    }
    return _json(asked[found["ask"]]())


def _info(repository: Repository, commit: str, query: dict[str, list[str]]) -> dict[str, Any]:
    siblings = []
    for file in repository.files(commit):
        sibling: dict[str, Any] = {"rfilename": file.path}
        if query.get("blobs"):
            entry = file.entry()
            sibling |= {"size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                lfs = entry["lfs"]
                sibling["lfs"] = {"sha256": lfs["oid"]} | {
                    k: lfs[k] for k in ("size", "pointerSize")
                }
        siblings.append(sibling)
    names = {"_id": "0" * 24, "id": repository.name}
    info = names | {
        "author": repository.name.partition("/")[0],
        "sha": commit,
        "createdAt": DATE,
        "lastModified": DATE,
        "private": False,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    }
    if repository.kind == "models":
        info["modelId"] = repository.name
    wanted = query.get("expand") or query.get("expand[]")
    return names | {key: info[key] for key in wanted if key in info} if wanted else info


def _tree(
    repository: Repository, commit: str, folder: str, query: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """Return the entries under a folder, its folders too."""
    prefix = f"{folder}/" if folder else ""
    files = [file for file in repository.files(commit) if file.path.startswith(prefix)]
    if not files:
        raise _missing(folder, commit)
    deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
    entries = {}
    for file in files:
        steps = file.path.removeprefix(prefix).split("/")
        for depth in range(1, len(steps) if deep else min(2, len(steps))):
            path = prefix + "/".join(steps[:depth])
            entries[path] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        if deep or len(steps) == 1:
            entries[file.path] = file.entry()
    return [entries[path] for path in sorted(entries)]


def _paths(
    repository: Repository, commit: str, form: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """Return the entries of single paths; what is missing is left out."""
    entries = _tree(repository, commit, "", {"recursive": ["true"]})
    return [entry for entry in entries if entry["path"] in form.get("paths", [])]


def _refs(repository: Repository) -> dict[str, Any]:
    def listed(refs: dict[str, str], place: str) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{place}/{name}", "targetCommit": commit}
            for name, commit in refs.items()
        ]

    branches, tags = listed(repository.branches, "heads"), listed(repository.tags, "tags")
    return {"branches": branches, "tags": tags, "converts": []}


def _commits(repository: Repository, commit: str) -> list[dict[str, Any]]:
    """Return a commit and those before it."""
    commits = repository.commits
    return [
        {"id": older, "title": f"Commit {older[:7]}", "message": "", "date": DATE, "authors": []}
        for older in commits[commits.index(commit) :]
    ]


def _send_file(root: Path, request: Request, found: re.Match[str], storage: str) -> Answer:
    """Return a small file, or the place where a large one is stored."""
    kind: Kind = "datasets" if found["datasets"] else "models"
    repository = _open(root, request, kind, found["name"])
    if repository.gated and request.token != READER_TOKEN:
        subject = f"Access to {kind[:-1]} {repository.name} is restricted"
        if request.token is None:
            raise Refusal(401, "GatedRepo", f"{subject}. Please log in.")
        raise Refusal(403, "GatedRepo", f"{subject} and you are not in the authorized list.")
    commit = _commit_of(repository, found["revision"])
    path = unquote(found["path"])
    file = repository.find(commit, path)
    if file is None:
        raise _missing(path, commit)
    headers = {"X-Repo-Commit": commit}
    if not file.is_large:
        return _content(request, file, headers)
    headers |= {
        "X-Linked-Etag": f'"{file.etag}"',
        "X-Linked-Size": str(len(file.content)),
        "Location": f"{storage}/storage/{kind}/{repository.name}/{commit}/{path}",
    }
    return Answer(302, b"", headers)


def _content(
    request: Request, file: StoredFile, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return the bytes of a file, or the range that was asked for."""
    told = {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes", **(headers or {})}
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if span is None:
        return Answer(200, file.content, told)
    size = len(file.content)
    first, last = int(span[1]), min(int(span[2] or size), size - 1)
    if first >= size:
        return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
    told["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, file.content[first : last + 1], told)


def _missing(path: str, commit: str) -> Refusal:
    return Refusal(404, "EntryNotFound", f"Entry not found: {path}", X_Repo_Commit=commit)


def _json(said: Any) -> Answer:
    return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})
