"""A Ray cluster that has died under a running command: told, and the command ended, in seconds.

Ray itself waits a minute for a dead head and then ends the process without a word; where the
raylet of the driver's machine has died it does so at some later moment, with pages of its log.
"""

import socket
import threading
import time
from collections.abc import Callable

from scpo.interrupts import end_command
from scpo.text.terminal import warn

HostPort = tuple[str, int]
POLL_S = 1.0
_TELL_S = 10.0  # of a head that others run, which may come back
_CONNECT_S = 5.0


class ClusterWatch:
    """Watches the two processes without which a driver can do nothing: Ray's head, and its raylet.

    `is_connected` says whether the driver still uses them. A head that this driver started does
    not come back, nor does a raylet; a head of others may, and is only told of.
    """

    def __init__(
        self, head: HostPort, raylet: HostPort, *, is_own: bool, is_connected: Callable[[], bool]
    ) -> None:
        self._head, self._raylet = head, raylet
        self._is_own, self._is_connected = is_own, is_connected
        self._silent_since: float | None = None  # of a head of others
        self._told = False

    def start(self) -> None:
        """Watch in a thread, until the driver has left the cluster."""
        threading.Thread(target=self._watch, name="cluster watch", daemon=True).start()

    def _watch(self) -> None:
        while self._is_connected():
            if self._has_died(self._raylet):
                end_command(f"the death of Ray's raylet on this machine ({_text(self._raylet)})")
                return
            if self._is_own and self._has_died(self._head):
                end_command(f"the death of Ray's head on this machine ({_text(self._head)})")
                return
            if not self._is_own:
                self._tell_of_head()
            time.sleep(POLL_S)

    def _has_died(self, address: HostPort) -> bool:
        """Return whether nothing listens there, asked twice, while the driver needs it."""
        if not _is_refused(address):
            return False
        time.sleep(POLL_S)
        return self._is_connected() and _is_refused(address)

    def _tell_of_head(self) -> None:
        """Say once when the head stops answering, and when it answers again."""
        if _fault_of(self._head) is None:
            if self._told:
                warn(f"Ray's head at {_text(self._head)} answers again.")
            self._silent_since, self._told = None, False
            return
        self._silent_since = self._silent_since or time.monotonic()
        silent_s = time.monotonic() - self._silent_since
        if silent_s >= _TELL_S and not self._told:
            self._told = True
            warn(
                f"Ray's head at {_text(self._head)} has not answered for {silent_s:.0f} s. If it "
                "stays away, Ray ends this process: run the same command again once the cluster "
                "is back (a sweep with --resume)."
            )


def _is_refused(address: HostPort) -> bool:
    """Return whether nothing listens there; what only takes long is not refused."""
    return isinstance(_fault_of(address), ConnectionRefusedError)


def _fault_of(address: HostPort) -> OSError | None:
    """Return why no connection is taken, None where one is."""
    try:
        socket.create_connection(address, timeout=_CONNECT_S).close()
    except OSError as error:
        return error
    return None


def _text(address: HostPort) -> str:
    return f"{address[0]}:{address[1]}"
