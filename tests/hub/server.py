"""The hub on a port of loopback: in a thread of the test, or as a process of its own.

    python -m tests.hub.server ROOT [--port PORT]      prints the address, serves until killed

A fault breaks the requests that it names, and each request is logged. Both are reached over HTTP
as well (`/-/faults`, `/-/log`), so that `HubControl` works on a hub in any process.
"""

import argparse
import json
import socket
import struct
import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hub.answers import Answer, Request, answer


@dataclass
class Fault:
    """What goes wrong, and with which requests.

    Attributes:
        path: Part of the paths that it strikes; empty for all.
        method: Method that it strikes; None for all.
        times: How many requests it strikes; None for all.
        status: Answer with this status and nothing else.
        after_bytes: Close the connection after so many bytes of the body.
        reset: After those bytes, reset the connection rather than close it.
        delay_s: Wait before the answer, until the hub stops at the longest.
        stop: Stop the hub once struck: connections are refused from then on.
    """

    path: str = ""
    method: str | None = None
    times: int | None = 1
    status: int | None = None
    after_bytes: int | None = None
    reset: bool = False
    delay_s: float = 0.0
    stop: bool = False


@dataclass(frozen=True)
class LoggedRequest:
    """A request that the hub got; `status` is 0 where it gave no answer."""

    method: str
    path: str
    status: int
    range: str | None
    token: str | None


class HubServer:
    """A hub that serves a folder of repositories.

    Attributes:
        root: The folder; repositories may change while it serves.
        port: Port on 127.0.0.1, the same after a stop and a new start.
        faults: Faults in force; the first that fits strikes.
        log: Requests in the order of their ends.
    """

    def __init__(self, root: Path, port: int = 0) -> None:
        self.root, self.port = root, port
        self.faults: list[Fault] = []
        self.log: list[LoggedRequest] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must be."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "HubServer":
        """Listen, from now on."""
        self.stopping.clear()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        # The poll interval is what a stop takes at the longest.
        poll = {"poll_interval": 0.01}
        threading.Thread(target=self._server.serve_forever, kwargs=poll, daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; a request that waits gets no answer."""
        self.stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def strike(self, request: Request) -> Fault | None:
        """Return the fault that strikes a request, and count it."""
        with self.lock:
            for fault in self.faults:
                fits = fault.path in request.path and fault.method in (None, request.method)
                if fits and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def __enter__(self) -> "HubServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class HubControl:
    """Faults and log of a hub in another process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set_faults(self, *faults: Fault) -> None:
        """Put these faults in the place of all that are in force."""
        self._call("faults", json.dumps([asdict(fault) for fault in faults]).encode())

    def log(self) -> list[LoggedRequest]:
        return [LoggedRequest(**entry) for entry in json.loads(self._call("log"))]

    def clear_log(self) -> None:
        self._call("log", b"[]")

    def _call(self, name: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}/-/{name}", data=body)
        with urllib.request.urlopen(request, timeout=10) as response:
            said: bytes = response.read()
        return said


class _Handler(BaseHTTPRequestHandler):
    """One request. HTTP/1.0 closes each connection, so none outlives a stop."""

    hub: HubServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        named = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, named, self.rfile.read(length))
        if request.path.startswith("/-/"):
            self._send(self._control(request))
            return
        fault = self.hub.strike(request) or Fault()
        if fault.delay_s and self.hub.stopping.wait(fault.delay_s):
            self._note(request, 0)
            return
        said = (
            Answer(fault.status)
            if fault.status
            else answer(self.hub.root, request, f"http://localhost:{self.hub.port}")
        )
        # Logged first: whoever has the answer finds it in the log.
        self._note(request, said.status)
        if not fault.stop or fault.after_bytes is not None:
            self._send(said, fault.after_bytes)
        if fault.stop:  # before this connection ends, so that the client finds nobody at once
            self.hub.stop()
        if fault.reset:
            linger = struct.pack("ii", 1, 0)  # for no time: a close resets the connection
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    do_HEAD = do_POST = do_GET

    def _control(self, request: Request) -> Answer:
        name = request.path.removeprefix("/-/")
        with self.hub.lock:
            if name == "faults":
                self.hub.faults[:] = [Fault(**fault) for fault in json.loads(request.body)]
                return Answer(200)
            if request.method == "POST":
                self.hub.log.clear()
            return Answer(200, json.dumps([asdict(entry) for entry in self.hub.log]).encode())

    def _note(self, request: Request, status: int) -> None:
        span = request.headers.get("range")
        entry = LoggedRequest(request.method, request.path, status, span, request.token)
        with self.hub.lock:
            self.hub.log.append(entry)

    def _send(self, said: Answer, after_bytes: int | None = None) -> None:
        try:
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body[:after_bytes])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; the requests are in the hub's log."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a folder until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(arguments)
    hub = HubServer(given.root, given.port).start()
    print(hub.url, flush=True)
    hub.stopping.wait()


if __name__ == "__main__":
    main()
