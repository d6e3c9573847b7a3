"""score-file, rerank, export and serve through the command line; --json, -q and -v."""

import json
import signal
import subprocess
import sys
import urllib.request

import pyarrow.parquet as pq
import pytest

import scpo
from scpo import __main__ as command_line
from scpo.data.interactions import write_interactions


@pytest.fixture
def run_cli(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["scpo", *map(str, arguments)])
        capsys.readouterr()  # what fixtures said
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        return (caught.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def answers(tmp_path):
    rows = [{"prompt": "a b", "response": text} for text in ("good", "bad d")]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_file_is_scored(run_cli, model_folder, answers, tmp_path):
    out = tmp_path / "scored.jsonl"
    code, said, _ = run_cli("score-file", model_folder("bert"), answers, "--out", out)
    assert (code, said) == (0, f"Written: {out}: 2 rows\n")
    rewards = [json.loads(line)["reward"] for line in out.read_text().splitlines()]
    model = scpo.RewardModel.from_pretrained(model_folder("bert"))
    assert rewards == pytest.approx(model.score(["a b"] * 2, ["good", "bad d"]).tolist(), abs=1e-6)
    code, said, _ = run_cli("score-file", model_folder("bert"), answers, "--out", out, "--json")
    assert json.loads(said) == {"rows": 2, "texts_cut": 0, "out": str(out)}
    code, said, _ = run_cli("-q", "score-file", model_folder("bert"), answers, "--out", out)
    assert (code, said) == (0, "")
    code, said, told = run_cli("score-file", model_folder("bert"), answers, "--out", "x.csv")
    assert (code, told.count("\n")) == (2, 1)
    assert "must end in .jsonl or .parquet" in told


def test_responses_are_ranked(run_cli, model_folder, tmp_path):
    file, out = tmp_path / "samples.jsonl", tmp_path / "ranked.jsonl"
    file.write_text(json.dumps({"q": "a b", "responses": ["good", "bad d", "h"]}) + "\n")
    arguments = ("rerank", model_folder("bert"), file, "--prompt-column", "q", "--top-k", 2)
    code, said, _ = run_cli(*arguments, "--out", out, "--json")
    assert (code, json.loads(said)["rows"]) == (0, 1)
    (row,) = map(json.loads, out.read_text().splitlines())
    assert len(row["ranking"]) == 2
    assert row["ranking"][0] == row["rewards"].index(max(row["rewards"]))


def test_pairs_are_exported(run_cli, interactions, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    table = interactions(users={"Mexico": 8, "Chile": 8}, per_user=1)
    write_interactions(table, tmp_path / "data" / "interactions.parquet")
    out = tmp_path / "pairs.parquet"
    code, said, _ = run_cli("export", tmp_path / "data", "--out", out)
    assert (code, said.splitlines()[-1]) == (0, f"Written: 48 pairs, {out}")
    weighted = ("--global-model", model_folder("bert"), "--country", "MX", "--arm", "weight")
    code, said, _ = run_cli("export", tmp_path / "data", "--out", out, *weighted, "--json")
    rows = pq.read_table(out).to_pylist()
    assert (code, json.loads(said)["pairs"]) == (0, len(rows))
    assert {(row["country"], row["part"]) for row in rows} == {("Mexico", "train")}
    assert 0 < min(row["weight"] for row in rows) < max(row["weight"] for row in rows) == 1
    code, said, _ = run_cli("export", tmp_path / "data", "--out", out, "--part", "test")
    assert code == 0
    assert {row["part"] for row in pq.read_table(out).to_pylist()} == {"test"}
    code, _, told = run_cli("export", tmp_path / "data", "--out", out, "--tau", "0.5")
    assert (code, "--tau weighs pairs by a global model. Give --global-model" in told) == (2, True)
    code, _, told = run_cli("export", tmp_path / "data", "--out", out, "--part", "tset")
    assert (code, "--part must be one of" in told) == (2, True)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--port", "70000"), "--port"),
        (("--max-mb", "0"), "--max-mb"),
        (("--device", "cuda:99"), "device is 'cuda:99', but torch finds no such device here"),
    ],
)
def test_a_setting_of_a_server_is_refused_in_one_line(run_cli, model_folder, words, match):
    code, _, told = run_cli("serve", model_folder("bert"), *words)
    assert (code, told.count("\n"), match in told) == (2, 1, True)


def test_a_server_ends_with_ctrl_c(model_folder):
    command = [sys.executable, "-m", "scpo", "serve", str(model_folder("bert")), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        url = line.split(" at ")[1].split(". ")[0]
        body = json.dumps({"query": ["a good"], "prompts": ["a "]}).encode()
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert len(json.loads(answer.read())["rewards"]) == 1
        server.send_signal(signal.SIGINT)
        said, told = server.communicate(timeout=60)
        assert (server.returncode, said, told) == (0, "Stopped.\n", "")
    finally:
        server.kill()


def test_the_version_is_told(run_cli):
    assert run_cli("--version") == (0, f"scpo {scpo.__version__}\n", "")
