"""A reward model over HTTP, in the form that OpenRLHF asks a remote reward model.

    POST /get_reward {"query": ["..", ".."], "prompts": ["..", ".."]} -> {"rewards": [0.3, -1.2]}

A query is prompt and response as the policy's chat template renders them. A decoder scores it as
it is; an encoder reads pairs, so it needs `prompts`, with which each query begins. A query may be
a list of messages too, the last of them the response. Requests wait for one another at the model;
a request's texts are scored in batches by length. GET /health says that the server is there.
"""

import json
import reprlib
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scpo.api.models import RewardModel
from scpo.api.said import read_said
from scpo.text.json_text import load_json

MAX_BODY_BYTES = 32 << 20
MAX_QUERIES = 4096
_MOST_DIGITS = 20  # of the size of a body
_SILENCE_S = 60.0  # of a client in the middle of its request


class RewardServer(ThreadingHTTPServer):
    """Answers requests for rewards of one model.

    Args:
        model: Scores.
        host: Address to listen on; "127.0.0.1" for this machine alone.
        port: Its port; 0 for a free one.
        max_bytes: Largest body of a request.
        max_queries: Most queries of a request.

    Raises:
        OSError: The address is taken or not this machine's.
    """

    daemon_threads = True

    def __init__(
        self,
        model: RewardModel,
        host: str = "127.0.0.1",
        port: int = 5000,
        *,
        max_bytes: int = MAX_BODY_BYTES,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        self.model = model
        self.max_bytes = max_bytes
        self.max_queries = max_queries
        self.scoring = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{host}:{port} cannot be listened on ({error.strerror}). Choose "
                "another --host or --port",
            ) from error

    @property
    def url(self) -> str:
        """Return where the server listens."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone away."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def rewards_of(self, body: bytes) -> list[float]:
        """Return the reward of each query of a request's body.

        Raises:
            ValueError: The body is no such request.
        """
        try:
            given = load_json(body)
        except ValueError as error:
            raise ValueError(f"The body must be JSON, but: {error}.") from error
        queries = given.get("query") if isinstance(given, dict) else None
        if not isinstance(queries, list) or not queries:
            raise ValueError('The body must be an object with a list "query" that is not empty.')
        if len(queries) > self.max_queries:
            raise ValueError(
                f"A request may have {self.max_queries} queries, but has {len(queries)}. Send "
                "several."
            )
        texts = [query for query in queries if isinstance(query, str)]
        if not texts:
            return self._score(*_split_messages(queries))
        if len(texts) < len(queries):
            raise ValueError("Queries must all be texts, or all be lists of messages.")
        if self.model.reads_pairs:
            return self._score(*_split_texts(texts, given.get("prompts")))
        with self.scoring:
            return [float(reward) for reward in self.model.score_rendered(texts)]

    def _score(self, prompts: list[Any], responses: list[Any]) -> list[float]:
        read_said(prompts, responses)  # refused before anybody waits
        with self.scoring:
            return self.model(prompts, responses)


def _split_messages(queries: list[Any]) -> tuple[list[Any], list[Any]]:
    for query in queries:
        if not isinstance(query, list) or len(query) < 2:
            raise ValueError(
                "A query must be a text, or a list of two messages or more whose last is the "
                f"assistant's, but got {reprlib.repr(query)}."
            )
    return [query[:-1] for query in queries], [query[-1:] for query in queries]


def _split_texts(queries: list[str], prompts: Any) -> tuple[list[Any], list[Any]]:
    if not isinstance(prompts, list) or len(prompts) != len(queries):
        raise ValueError(
            'This model reads pairs: "prompts" must be a list of as many texts as "query".'
        )
    for number, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        if not isinstance(prompt, str) or not query.startswith(prompt):
            raise ValueError(
                f"Query {number} must begin with its prompt, which this model reads apart, but "
                f"begins {query[:40]!r}."
            )
    rests = [query[len(prompt) :] for query, prompt in zip(queries, prompts, strict=True)]
    return prompts, rests


class _Handler(BaseHTTPRequestHandler):
    server: RewardServer
    server_version = "scpo"
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S

    def do_POST(self) -> None:
        if self.path.rstrip("/") != "/get_reward":
            self._refuse(HTTPStatus.NOT_FOUND, f"There is no {self.path}, only POST /get_reward.")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "A request must have a Content-Length.")
            return
        if len(length) > _MOST_DIGITS or int(length) > self.server.max_bytes:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"A body may have {self.server.max_bytes} bytes, but has "
                f"{length if len(length) <= _MOST_DIGITS else 'more'}.",
            )
            return
        try:
            rewards = self.server.rewards_of(self.rfile.read(int(length)))
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except RuntimeError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._answer(HTTPStatus.OK, {"rewards": rewards, "scores": rewards})

    def do_GET(self) -> None:
        if self.path.rstrip("/") == "/health":
            self._answer(HTTPStatus.OK, {"status": "ok"})
        elif self.path.rstrip("/") == "/get_reward":
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "/get_reward takes POST.")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"There is no {self.path}, only POST /get_reward.")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of single requests."""

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # what is left of the body is not read
        self._answer(status, {"error": " ".join(message.split())})

    def _answer(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
