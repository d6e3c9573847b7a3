"""Signals: Ctrl-C, SIGTERM and a closed terminal end a command, and what it started, in time.

Ray puts handlers of its own in the place of others, and some of them end the process without a
word. So every signal is also seen through Python's wakeup file: whatever a handler makes of it,
`Interruption` knows that it came, and after 8 s ends the process and its children by force. So
further signals, as of Ctrl-C pressed again, are let pass: they would cut short what cleans up.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

GRACE_S = 8.0
_RAY_S = 4.0  # of these, for Ray's own shutdown


class Stopped(Exception):
    """A command stopped where it is, with words that say what is kept and how to go on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived: raised in the main thread, as Python does for Ctrl-C."""


class Interruption:
    """Watches for signals while a command runs; use it as a context.

    `signal_number` is the first that came, None for none. `last_words` are called with what
    stopped the command before a process that does not end by itself is ended by force.
    """

    def __init__(self, last_words: Callable[[str], None]) -> None:
        self.signal_number: int | None = None
        self._last_words = last_words
        self._ended = threading.Event()
        self._owner = os.getpid()
        self._children: frozenset[int] = frozenset()
        self._is_stopping = False

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        _running.append(self)
        self._children = frozenset(child.pid for child in _descendants())
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._forget)
        self._handlers = {
            number: signal.signal(number, self._stop)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)
        }
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._is_stopping = True
        for number in self._handlers:
            signal.signal(number, self._stop)
        _running.remove(self)
        signal.set_wakeup_fd(self._wakeup)
        os.write(self._writing, b"\0")
        self._watcher.join()  # what came before is known now
        if self.signal_number is not None:
            self.end_children()
        for number, handler in self._handlers.items():  # after a signal the process ends
            signal.signal(number, handler if self.signal_number is None else signal.SIG_IGN)
        self._ended.set()
        os.close(self._writing)
        os.close(self._reading)

    def end_children(self) -> None:
        """End Ray, and kill what this command started and is still there."""
        started = self._started()
        ray = sys.modules.get("ray")
        if ray is not None and started:
            ending = threading.Thread(target=ray.shutdown, daemon=True)
            ending.start()
            ending.join(_RAY_S)
        self._kill([*started, *self._started()])  # Ray's may be nobody's children by now

    def _started(self) -> list[psutil.Process]:
        return [child for child in _descendants() if child.pid not in self._children]

    def _kill(self, processes: list[psutil.Process]) -> None:
        for child in processes:
            with suppress(OSError):
                if child.is_running():  # and is no later process of the same number
                    os.kill(child.pid, signal.SIGKILL)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked worker, whose parent ends it
            os._exit(128 + number)
        self.signal_number = self.signal_number or number
        if self._is_stopping:
            return
        self._is_stopping = True
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _watch(self) -> None:
        is_first = True
        while number := os.read(self._reading, 1)[0]:
            if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) and is_first:
                is_first = False
                self.signal_number = self.signal_number or number
                threading.Thread(target=self._force, args=(number,), daemon=True).start()

    def _force(self, number: int) -> None:
        if self._ended.wait(GRACE_S):
            return
        self._last_words(name_of_signal(number))
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        self.end_children()
        os._exit(128 + number)

    def end(self, cause: str) -> None:
        """End the process at once, with exit code 2, without Ray: it cannot be shut down."""
        self._last_words(cause)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        self._kill(self._started())
        os._exit(2)

    def is_here(self) -> bool:
        """Return whether the command runs in this process, not in one that forked it."""
        return os.getpid() == self._owner

    def _forget(self) -> None:
        if os.getpid() != self._owner and not self._ended.is_set():
            signal.set_wakeup_fd(-1)  # its signals are not ours
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it


_running: list[Interruption] = []  # that of the command of this process, if any


def end_command(cause: str) -> None:
    """End the command of this process, where one runs, with a line that says why."""
    if _running and _running[0].is_here():
        _running[0].end(cause)


def name_of_signal(number: int) -> str:
    """Return what stopped a command, e.g. "Ctrl-C"."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def keep_handlers(*further: signal.Signals, defaults: bool = False) -> Iterator[None]:
    """Put the handlers of Ctrl-C, SIGTERM and `further` signals back that a library replaces.

    With `defaults` also where none was set, so that the library's does not stay.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, *further)
    kept = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            if handler is not None and (defaults or handler != signal.SIG_DFL):
                signal.signal(number, handler)


@contextmanager
def restored_process(variables: Sequence[str]) -> Iterator[None]:
    """Put handlers of signals and variables of the environment back as the caller had them.

    For a call from a notebook, which goes on: Ray Tune's handler would swallow its next Ctrl-C.
    """
    values = {name: os.environ.get(name) for name in variables}
    try:
        with keep_handlers(signal.SIGUSR1, defaults=True):
            yield
    finally:
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _descendants() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))
