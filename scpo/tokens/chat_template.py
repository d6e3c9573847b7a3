"""Conversations become texts through a chat template, within bounds of time, memory and output.

A template is a program of whoever made the model. So it runs in one process beside this one
(`scpo.tokens.template_process`), which has no variables of the environment and ends when the
template takes too much, or with this process.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

RENDER_S = 10.0  # of processor time, for a batch; a sound template takes milliseconds
LIMIT_BYTES = 1 << 29  # of memory
FREE_CHARACTERS = 1 << 20  # of a text, beside four times what is said in it
_BATCH = 64  # conversations in a request
_CHILD = Path(__file__).with_name("template_process.py")
_LOCK = Lock()
_running: dict[int, subprocess.Popen[bytes]] = {}  # by the id of the process that started it

Messages = Sequence[Mapping[str, str]]


class TemplateFailure(Exception):
    """What a template raised, or which bound it broke."""


def render_conversations(
    template: str, variables: Mapping[str, Any], conversations: Sequence[Messages]
) -> list[str]:
    """Return each conversation as the template renders it.

    Raises:
        TemplateFailure: The template does not parse, raises, or breaks a bound.
    """
    texts: list[str] = []
    for start in range(0, len(conversations), _BATCH):
        request = {
            "template": template,
            "variables": dict(variables),
            "conversations": conversations[start : start + _BATCH],
            "free_characters": FREE_CHARACTERS,
        }
        with _LOCK:
            answer = _ask(json.dumps(request).encode() + b"\n")
        if "error" in answer:
            raise TemplateFailure(answer["error"])
        texts += answer["texts"]
    return texts


def _ask(request: bytes) -> Any:
    process = _running.get(os.getpid()) or _start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request)
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = b""
    if answer.endswith(b"\n"):
        return json.loads(answer)
    code = process.wait()
    _stop()
    late = code == -signal.SIGPROF
    bound = f"{RENDER_S:g} s of processor time" if late else f"{LIMIT_BYTES >> 20} MiB of memory"
    raise TemplateFailure(f"it takes more than {bound}" + ("" if late else f" (exit code {code})"))


def _start() -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-I", str(_CHILD), str(RENDER_S), str(LIMIT_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept,
        start_new_session=True,  # Ctrl-C is for the parent, whose end closes the pipe
    )
    _running.clear()  # that of a process which this one is a fork of is not ours
    _running[os.getpid()] = process
    return process


@atexit.register
def _stop() -> None:
    process = _running.pop(os.getpid(), None)
    if process is None:
        return
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
    process.wait()
