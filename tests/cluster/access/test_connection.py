"""Addresses and the first contact, against small servers on loopback."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler, TCPServer

import aiohttp
import pytest
import requests
from ray.exceptions import AuthenticationError

import cluster.access.connection
from cluster.access.connection import asks_for_token, connect, resolve_address

VERSION = json.dumps({"version": "4", "ray_version": "2.60.0"})


def enter(address: str) -> None:
    with connect(address):
        pass


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


Serve = Callable[[TCPServer], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[TCPServer] = []

    def start(server: TCPServer) -> str:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def http_server(status: int, body: str) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize(
    ("address", "variables", "expected"),
    [
        (None, {}, "http://127.0.0.1:8265"),
        ("http://head:8265/", {}, "http://head:8265"),
        ("https://ray.example.com", {}, "https://ray.example.com"),
        (None, {"RAY_ADDRESS": "http://b:1/"}, "http://b:1"),
        (
            None,
            {"RAY_ADDRESS": "http://b:1", "RAY_API_SERVER_ADDRESS": "http://a:1"},
            "http://a:1",
        ),
        ("http://a:1", {"RAY_API_SERVER_ADDRESS": "http://a:1/"}, "http://a:1"),
    ],
)
def test_address_follows_the_order_of_ray(
    address: str | None,
    variables: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert resolve_address(address) == expected


def test_address_that_ray_would_override_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(RuntimeError, match=r"RAY_ADDRESS must be unset.*Unset RAY_ADDRESS"):
        resolve_address("http://head:8265")


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "auto"])
def test_address_without_http_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address of the dashboard must be.*but the address is"):
        resolve_address(address)


def test_variable_without_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(ValueError, match=r"RAY_ADDRESS is 'auto'.*RAY_API_SERVER_ADDRESS"):
        resolve_address(None)


def test_ray_dashboard_is_accepted(serve: Serve) -> None:
    url = serve(http_server(200, VERSION))
    with connect(url + "/") as client:
        assert client.get_address() == url


def test_open_cluster_is_refused_by_who_has_a_token(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    url = serve(http_server(200, VERSION))
    with pytest.raises(RuntimeError, match=r"must ask for a token.*without one.*dis"):
        enter(url)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    enter(url)


def test_a_profile_says_how_its_cluster_is_started(serve: Serve) -> None:
    assert not asks_for_token(serve(http_server(200, VERSION)), "unused")
    assert asks_for_token(serve(http_server(401, "")), "unused")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RuntimeError, match=r"must answer at .*\. Start it with: ray up"):
        asks_for_token(f"http://127.0.0.1:{port}", "Start it with: ray up")


def test_nothing_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RuntimeError, match=f"must answer at http://127.0.0.1:{port}.*tunnel"):
        enter(f"http://127.0.0.1:{port}")


def test_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.access.connection, "CONNECT_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RuntimeError, match=r"must answer at.*timed out"):
            enter(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>"), (200, "{}"), (404, ""), (502, "bad gateway")]
)
def test_other_web_server_is_refused(serve: Serve, status: int, body: str) -> None:
    with pytest.raises(RuntimeError, match=r"another service did\. Give the dashboard's port"):
        enter(serve(http_server(status, body)))


def test_other_protocol_is_refused(serve: Serve) -> None:
    class Garbage(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1024)
            self.request.sendall(b"\x00\x00\x12\x04\r\n\r\n")

    with pytest.raises(RuntimeError, match="another service did"):
        enter(serve(TCPServer(("127.0.0.1", 0), Garbage)))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_token_says_where_the_token_goes(serve: Serve, status: int) -> None:
    url = serve(http_server(status, "no"))
    with pytest.raises(RuntimeError, match=f"{url} needs its token.*RAY_AUTH_TOKEN_PATH"):
        enter(url)


def test_token_error_keeps_only_its_reason(serve: Serve) -> None:
    with (
        pytest.raises(RuntimeError, match=r"but got: Authentication failed: no\. Set RAY_AUTH"),
        connect(serve(http_server(200, VERSION))),
    ):
        raise AuthenticationError("Authentication failed: no\n\nlong advice")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("gone"), requests.ConnectionError("gone"), aiohttp.ClientError("gone")],
)
def test_lost_connection_is_explained(serve: Serve, error: Exception) -> None:
    with (
        pytest.raises(RuntimeError, match=r"Lost the connection.*: gone\. Submitted jobs keep"),
        connect(serve(http_server(200, VERSION))),
    ):
        raise error


def test_other_errors_pass(serve: Serve) -> None:
    with (
        pytest.raises(PermissionError, match="unreadable"),
        connect(serve(http_server(200, VERSION))),
    ):
        raise PermissionError("unreadable")
