"""A cluster that dies under a command, here sockets that close: told, and the command ended."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from scpo import lost_cluster
from scpo.lost_cluster import ClusterWatch


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the command was ended by."""
    causes: list[str] = []
    monkeypatch.setattr(lost_cluster, "end_command", causes.append)
    monkeypatch.setattr(lost_cluster, "POLL_S", 0.01)
    monkeypatch.setattr(lost_cluster, "_TELL_S", 0.02)
    return causes


@pytest.fixture
def part() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def connected() -> Iterator[threading.Event]:
    event = threading.Event()
    event.set()
    yield event
    event.clear()


def closed_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()


def await_true(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_dead_raylet_ends_the_command(
    quick: list[str], part: socket.socket, connected: threading.Event
) -> None:
    raylet = closed_address()
    ClusterWatch(part.getsockname(), raylet, is_own=False, is_connected=connected.is_set).start()
    await_true(lambda: quick)
    assert quick == [f"the death of Ray's raylet on this machine (127.0.0.1:{raylet[1]})"]


def test_a_dead_head_of_ones_own_ends_the_command(
    quick: list[str], part: socket.socket, connected: threading.Event
) -> None:
    head = closed_address()
    ClusterWatch(head, part.getsockname(), is_own=True, is_connected=connected.is_set).start()
    await_true(lambda: quick)
    assert quick == [f"the death of Ray's head on this machine (127.0.0.1:{head[1]})"]


def test_a_head_of_others_that_is_away_is_told_of_and_may_come_back(
    quick: list[str],
    part: socket.socket,
    connected: threading.Event,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []

    def hears(words: str) -> Callable[[], bool]:
        def listen() -> bool:
            said.append(capsys.readouterr().err)
            return words in "".join(said)

        return listen

    host, port = closed_address()
    watch = ClusterWatch(
        (host, port), part.getsockname(), is_own=False, is_connected=connected.is_set
    )
    watch.start()
    await_true(hears(f"Ray's head at 127.0.0.1:{port} has not answered for 0 s. If it stays"))
    with socket.create_server((host, port)):
        await_true(hears(f"Ray's head at 127.0.0.1:{port} answers again."))
    assert quick == []


def test_a_driver_that_left_the_cluster_is_not_ended(quick: list[str]) -> None:
    gone = closed_address()
    watch = ClusterWatch(gone, gone, is_own=True, is_connected=lambda: False)
    watch._watch()
    assert quick == []
