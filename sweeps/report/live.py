"""The page of a run over HTTP on this machine's own address, made anew from the ledger.

    GET / -> the page, as of the ledger at that moment; it loads itself anew every few seconds

Nothing else is served. A request must name the address by number or as localhost, so that a page
of another site cannot read this one by a name of its own. A half-written last line is not read.
"""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scpo.page.page import paragraph, render_page
from sweeps.ledger.records import LEDGER_NAME, read_records
from sweeps.ledger.weights_file import read_user_weights
from sweeps.ranking.recommendation import ChoiceRule
from sweeps.report.report_page import render_report

HOST = "127.0.0.1"
REFRESH_S = 10
_SILENCE_S = 30.0  # of a client in the middle of its request


class LiveReport(ThreadingHTTPServer):
    """Serves the page of one run.

    Args:
        run: Its folder.
        rule: How settings are chosen.
        port: Port to listen on; 0 for a free one.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, run: Path, rule: ChoiceRule, port: int = 0) -> None:
        self.run = run
        self.rule = rule
        self._making = threading.Lock()
        self._made: tuple[int, str] | None = None  # size of the ledger, its page
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{HOST}:{port} cannot be listened on ({error.strerror}). Choose another --port",
            ) from error

    @property
    def url(self) -> str:
        """Return where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def page(self) -> str:
        """Return the page; the same one as long as the ledger has not grown.

        Raises:
            ValueError: A line of the ledger is broken.
        """
        ledger = self.run / LEDGER_NAME
        with self._making:
            size = ledger.stat().st_size if ledger.is_file() else 0
            if self._made is None or self._made[0] != size:
                self._made = size, self._make()
            return self._made[1]

    def _make(self) -> str:
        name = self.run.resolve().name
        records = read_records(self.run) if (self.run / LEDGER_NAME).is_file() else []
        if not records:
            words = paragraph("No training has ended yet.")
            return render_page(f"SCPO sweep: {name}", words, [], refresh_s=REFRESH_S)
        return render_report(
            records,
            name=name,
            config=(self.run / "config.yaml").read_text(encoding="utf-8"),
            rule=self.rule,
            users=read_user_weights(self.run),
            refresh_s=REFRESH_S,
        )


class _Handler(BaseHTTPRequestHandler):
    server: LiveReport
    server_version = "scpo"
    sys_version = ""
    timeout = _SILENCE_S

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, f"Ask for {self.server.url}.")
        elif self.path != "/":
            self._answer(HTTPStatus.NOT_FOUND, f"There is only {self.server.url}.")
        else:
            try:
                page = self.server.page()
            except (ValueError, OSError) as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            else:
                self._answer(HTTPStatus.OK, page, "text/html")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of single requests."""

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)
