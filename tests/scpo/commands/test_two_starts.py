"""Two starts of a command at once, twenty times: one works, the other is refused at once."""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from scpo.__main__ import main
from scpo.config import SyntheticConfig
from scpo.data.interactions import write_interactions
from scpo.data.sources.synthetic import make_synthetic
from scpo.files.buckets import RemoteFolder
from scpo.files.output_folder import LOCK
from scpo.models.loading import load_reward_model
from sweeps.ledger.records import LEDGER_NAME, Ledger, TrialRecord
from tests.forked import Forked
from tests.saved_model import save_reward_model

pytestmark = pytest.mark.exhaustive
TIMES = 20
WORLD = SyntheticConfig(num_countries=2, users_per_country=6, interactions_per_user=1)
RECORD = TrialRecord(
    trial_id="search-arvandia-0000",
    purpose="search",
    country="Arvandia",
    arm="scpo_tuned",
    state="failed",
    config={},
    config_hash="0",
    seed=0,
)


def hold(words: Sequence[object], where: str, gate: Path, stop: bool = False) -> None:
    """Run a command that waits for a file where its work begins.

    With `stop` it then writes a record of a run and ends, before Ray.
    """
    name, _, function = where.partition(":")
    module = import_module(name)
    work: Callable[..., Any] = getattr(module, function)

    def held(*given: Any, **named: Any) -> Any:
        deadline = time.monotonic() + 120
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not stop:
            return work(*given, **named)
        mirror = named["mirror"]
        (Ledger(given[1]) if mirror is None else mirror.ledger).append(RECORD)
        raise ValueError("The driver was stopped before Ray.")

    setattr(module, function, held)
    sys.argv = ["scpo", *map(str, words)]
    main()


def start_twice(words: Sequence[object], where: str, folder: Path, stop: bool = False) -> str:
    """Return what the one that worked says; the other was refused while it did."""
    folder.mkdir()
    gate, said = folder / "gate", [folder / "first", folder / "second"]
    both = [Forked(hold, list(words), where, gate, stop, out=file, err=file) for file in said]
    deadline = time.monotonic() + 120
    while not any(each.ended() for each in both) and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = [each.ended() for each in both]
    gate.touch()
    codes = [each.wait(120) for each in both]
    texts = [file.read_text() for file in said]
    assert sorted(refused) == [False, True], texts
    assert codes[refused.index(True)] == 2
    line = texts[refused.index(True)]
    assert line.startswith("scpo: ")
    assert "is being written by process" in line
    assert line.count("\n") == 1
    assert codes[refused.index(False)] == (2 if stop else 0), texts
    return texts[refused.index(False)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    table = make_synthetic(WORLD).interactions
    write_interactions(table, tmp_path / "data" / "interactions.parquet")
    return tmp_path / "data"


@pytest.fixture
def config(data: Path, tiny_backbone: Path, tmp_path: Path) -> Path:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"name: x\ncountries: [Arvandia]\nglobal_model: {{backbone: {tiny_backbone}}}\n"
        f"data: {{source: prepared, path: {data}}}\ncache: {tmp_path / 'cache'}\n"
    )
    return file


def test_prepare(tmp_path: Path) -> None:
    for number in range(TIMES):
        out = tmp_path / f"out{number}"
        words = ["prepare", "synthetic", "--out", out, "--set", "synthetic.num_countries=2"]
        where = "scpo.data.sources.prepare:prepare_source"
        assert "Written" in start_twice(words, where, tmp_path / f"said{number}")
        assert (out / "interactions.parquet").is_file()
        assert not (out / LOCK).exists()


def test_train_global(data: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    for number in range(TIMES):
        out = tmp_path / f"out{number}"
        words = ["train-global", "--data", data, "--backbone", tiny_backbone, "--out", out]
        words += ["--exclude", "Arvandia", "--max-tokens", 64]
        where = "scpo.training.global_model:train_global_model"
        assert "Written" in start_twice(words, where, tmp_path / f"said{number}")
        load_reward_model(out)
    assert not list(tmp_path.glob(".*"))


def test_score_shares_its_cache(data: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    model = save_reward_model(
        load_reward_model(str(tiny_backbone), new_head=True), tmp_path / "model"
    )
    for number in range(3):
        words = ["score", "--data", data, "--global-model", model, "--max-tokens", 64]
        words += ["--cache", tmp_path / f"cache{number}"]
        said = [tmp_path / f"{number}-{name}" for name in ("first", "second", "third")]
        both = [Forked(_command, words, out=file, err=file) for file in said[:2]]
        assert [each.wait(120) for each in both] == [0, 0]
        assert Forked(_command, words, out=said[2]).wait(120) == 0
        assert "0 texts scored" in said[2].read_text()


def test_a_sweep_into_a_folder(config: Path, tmp_path: Path) -> None:
    for number in range(TIMES):
        out = tmp_path / f"out{number}"
        words = ["sweep", config, "--out", out]
        where = "sweeps.stages.whole_sweep:open_workspace"
        text = start_twice(words, where, tmp_path / f"said{number}", stop=True)
        assert "before Ray" in text
        assert (out / LEDGER_NAME).read_text().count("\n") == 1


def test_a_sweep_into_a_bucket(config: Path, bucket: str, tmp_path: Path) -> None:
    for number in range(TIMES):
        out = f"{bucket}/out{number}"
        words = ["sweep", config, "--out", out]
        where = "sweeps.stages.whole_sweep:open_workspace"
        text = start_twice(words, where, tmp_path / f"said{number}", stop=True)
        assert "before Ray" in text
        remote = RemoteFolder(out)
        whole = remote.read(LEDGER_NAME) if LEDGER_NAME in remote.names() else b""
        single = [(remote / "trials").read(name) for name in (remote / "trials").names()]
        assert b"".join([whole, *single]).count(b"\n") == 1
        assert (remote / "writers").names() == []


def _command(words: Sequence[object]) -> None:
    sys.argv = ["scpo", *map(str, words)]
    main()
