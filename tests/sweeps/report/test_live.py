"""The live page: what it serves, to whom, and that it follows the ledger."""

import http.client
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.ledger.records import LEDGER_NAME, encode_records
from sweeps.ranking.recommendation import DEFAULT_RULE
from sweeps.report.live import LiveReport

CONFIG = "name: sweep-1\nsearch: {non_inferiority: 0.01}\n"


@pytest.fixture
def lines(records) -> list[bytes]:
    """The ledger's lines of one country's search."""
    search = [r for r in records if r.purpose == "search" and r.country == "Chile"]
    return encode_records(search).splitlines(keepends=True)


@pytest.fixture
def run(tmp_path, lines) -> Path:
    folder = tmp_path / "sweep-1"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    (folder / LEDGER_NAME).write_bytes(b"".join(lines[:3]))
    return folder


@pytest.fixture
def server(run) -> Iterator[LiveReport]:
    with LiveReport(run, DEFAULT_RULE) as live:
        thread = threading.Thread(target=live.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield live
        live.shutdown()
        thread.join()


def ask(server: LiveReport, path: str = "/", host: str | None = None, method: str = "GET"):
    """Return status, headers and text of an answer."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def shown_trials(page: str) -> str:
    return re.findall(r"Trials: ([^·<]+)", page)[0].strip()


def test_the_page_follows_the_ledger(server, run, lines):
    status, headers, page = ask(server)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Cache-Control"] == "no-store"
    assert shown_trials(page) == "3 search"
    with (run / LEDGER_NAME).open("ab") as ledger:
        ledger.write(lines[3] + lines[4][:40])  # the fifth is being written
        ledger.flush()
        assert shown_trials(ask(server)[2]) == "4 search"
        ledger.write(lines[4][40:])
    assert shown_trials(ask(server)[2]) == "5 search"


def test_an_unchanged_ledger_is_read_once(server, monkeypatch):
    page = server.page()
    monkeypatch.setattr(server, "_make", lambda: pytest.fail("made again"))
    assert ask(server)[2] == page


def test_the_policy_stays_and_the_page_loads_itself_anew(server):
    page = ask(server)[2]
    assert "default-src 'none'" in page
    assert page.count("<script>") == 1
    assert "location.reload()" in page
    assert "read anew every 10 s" in page


def test_the_reader_stays_where_they_are(server, monkeypatch):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium")
    monkeypatch.setattr("sweeps.report.live.REFRESH_S", 3)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 800, "height": 300})
        faults = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(server.url)
        with page.expect_navigation():  # it loads itself anew
            page.evaluate("document.querySelector('details').open = true; scrollTo(0, 200)")
        seen = page.evaluate("[scrollY, document.querySelector('details').open]")
        browser.close()
    assert (seen, faults) == ([200, True], [])


def test_before_the_first_training_it_waits(server, run):
    (run / LEDGER_NAME).unlink()
    status, _, page = ask(server)
    assert status == 200
    assert "No training has ended yet." in page
    assert "location.reload()" in page


def test_a_broken_ledger_is_told(server, run, lines):
    (run / LEDGER_NAME).write_bytes(lines[0] + b"no record\n")
    status, headers, text = ask(server)
    assert (status, headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
    assert f"{LEDGER_NAME}:2" in text


@pytest.mark.parametrize("path", ["/trials.jsonl", "/../config.yaml", "/?x", "/favicon.ico"])
def test_nothing_else_is_served(server, path):
    status, _, text = ask(server, path)
    assert (status, text) == (404, f"There is only {server.url}.")


def test_other_names_and_methods_are_refused(server):
    assert ask(server, host="evil.example")[0] == 421
    assert ask(server, host=f"localhost:{server.server_address[1]}")[0] == 200
    assert ask(server, method="POST")[0] == 501


def test_it_listens_on_loopback_alone_and_a_taken_port_is_told(server, run):
    host, port = server.server_address[:2]
    assert host == "127.0.0.1"
    with pytest.raises(OSError, match=r"cannot be listened on .* Choose another --port"):
        LiveReport(run, DEFAULT_RULE, port)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scpo", "report", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_command_serves_until_ctrl_c(run):
    process = start(str(run), "--live", "--port", "0")
    try:
        [url] = re.findall(r"^(http://127\.0\.0\.1:\d+/) shows ", process.stdout.readline())
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert shown_trials(answer.read().decode()) == "3 search"
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "")
    assert told.startswith("scpo: stopped by Ctrl-C.")
    assert not (run / "report.html").exists()


def test_a_bucket_is_not_shown_live():
    process = start("s3://bucket/run", "--live")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--live shows a run in a folder of this machine" in told
