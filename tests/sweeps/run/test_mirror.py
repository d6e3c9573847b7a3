"""A run in a bucket: what another node finds of it, whatever the first one met."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scpo.files.buckets import RemoteFolder, local_copy, put_folder
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import content_hash
from sweeps.ledger.records import LEDGER_NAME, TrialRecord, read_records
from sweeps.run.mirror import RECORDS_FOLDER, Mirror, working_folder
from sweeps.run.shared_cache import local_cache, shared_cache
from tests.saved_model import save_reward_model

Make = Callable[..., TrialRecord]


@pytest.fixture
def mirror(bucket: str) -> Mirror:
    """The mirror of a run that has begun."""
    mirror = Mirror(f"{bucket}/runs/one")
    (mirror.folder / "data").mkdir(parents=True)
    (mirror.folder / "config.yaml").write_text("name: one\n")
    (mirror.folder / "data" / "interactions.parquet").write_bytes(b"rows")
    mirror.push()
    return mirror


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Mirror], Mirror]:
    """Open the same run on a node that has nothing of it."""

    def open_elsewhere(mirror: Mirror) -> Mirror:
        monkeypatch.setenv("SCPO_HOME", str(tmp_path / "elsewhere"))
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        return Mirror(mirror.remote.uri)

    return open_elsewhere


def ids(folder: Path) -> list[str]:
    return [record.trial_id for record in read_records(folder)]


def fail_to_write(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let nothing be written to the store."""

    def refuse(*given: object) -> None:
        raise OSError("the store is down")

    monkeypatch.setattr(RemoteFolder, "write", refuse)
    monkeypatch.setattr("sweeps.run.mirror._WAIT_S", 0.0)
    return monkeypatch


def test_another_node_finds_every_record_as_soon_as_it_is_made(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror], trial: Make
) -> None:
    ledger = mirror.open_ledger()
    for number in range(3):
        ledger.append(trial(f"t{number}", [1], 16.0))
        other = elsewhere(mirror)
        assert ids(other.folder) == [f"t{n}" for n in range(number + 1)]
    assert (other.folder / "data" / "interactions.parquet").read_bytes() == b"rows"
    assert len((mirror.remote / RECORDS_FOLDER).names()) == 3


def test_a_run_goes_on_elsewhere_and_the_ledger_is_one_file_again(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror], trial: Make
) -> None:
    mirror.open_ledger().append(trial("t0", [1], 16.0))
    other = elsewhere(mirror)
    ledger = other.open_ledger()
    assert (mirror.remote / RECORDS_FOLDER).names() == []
    ledger.append(trial("t1", [1], 16.0))
    other.push()
    assert (mirror.remote / RECORDS_FOLDER).names() == []
    assert other.remote.read(LEDGER_NAME) == ledger.path.read_bytes()
    assert ids(elsewhere(mirror).folder) == ["t0", "t1"]


def test_single_records_that_the_whole_ledger_holds_are_not_taken_twice(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror], trial: Make
) -> None:
    """As after a kill between putting the ledger and removing the records."""
    ledger = mirror.open_ledger()
    ledger.append(trial("t0", [1], 16.0))
    ledger.append(trial("t1", [1], 16.0))
    mirror.remote.put(ledger.path, LEDGER_NAME)
    assert ids(elsewhere(mirror).folder) == ["t0", "t1"]


def test_a_store_that_is_down_for_a_while_costs_no_record(
    mirror: Mirror,
    elsewhere: Callable[[Mirror], Mirror],
    trial: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = mirror.open_ledger()
    ledger.append(trial("t0", [1], 16.0))
    with monkeypatch.context() as patch:
        fail_to_write(patch)
        ledger.append(trial("t1", [1], 16.0))
        ledger.append(trial("t2", [1], 16.0))
    assert ids(mirror.folder) == ["t0", "t1", "t2"]
    ledger.append(trial("t3", [1], 16.0))
    assert ids(elsewhere(mirror).folder) == ["t0", "t1", "t2", "t3"]


def test_records_that_only_the_node_has_go_to_the_store_when_it_goes_on(
    mirror: Mirror, trial: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = mirror.open_ledger()
    ledger.append(trial("t0", [1], 16.0))
    with monkeypatch.context() as patch:
        fail_to_write(patch)
        ledger.append(trial("t1", [1], 16.0))
    again = Mirror(mirror.remote.uri)
    again.open_ledger()
    assert again.remote.read(LEDGER_NAME).count(b"\n") == 2


def test_what_the_store_has_wins_over_what_a_node_remembers(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror], trial: Make,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    mirror.open_ledger().append(trial("t0", [1], 16.0))
    other = elsewhere(mirror)
    other.open_ledger().append(trial("elsewhere", [1], 16.0))
    (other.folder / "data" / "interactions.parquet").write_bytes(b"better rows")
    other.push()
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    again = Mirror(mirror.remote.uri)
    assert again.folder == mirror.folder
    assert ids(again.folder) == ["t0", "elsewhere"]
    assert (again.folder / "data" / "interactions.parquet").read_bytes() == b"better rows"


def test_a_run_that_was_removed_from_the_store_is_no_more(mirror: Mirror) -> None:
    mirror.remote.remove_all()
    assert not Mirror(mirror.remote.uri).folder.exists()


def test_a_damaged_file_is_refused_by_name(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror]
) -> None:
    mirror.remote.write("data/interactions.parquet", b"torn")
    with pytest.raises(ValueError, match=r"one/data/interactions.parquet has other bytes"):
        elsewhere(mirror)


def test_a_global_model_trained_in_the_run_is_there_elsewhere(
    mirror: Mirror, elsewhere: Callable[[Mirror], Mirror], tiny_backbone: Path, tmp_path: Path
) -> None:
    reward = load_reward_model(str(tiny_backbone), new_head=True)
    own = save_reward_model(reward, mirror.folder / "global")
    uri = mirror.share_model(own)
    assert uri == f"{mirror.remote.uri}/global"
    assert content_hash(local_copy(uri)) == content_hash(own)
    assert content_hash(elsewhere(mirror).folder / "global") == content_hash(own)
    given = save_reward_model(reward, tmp_path / "given")
    assert mirror.share_model(given) == f"{mirror.remote.uri}/base"


def test_a_model_is_put_once(
    mirror: Mirror, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = []

    def count(folder: Path, remote: RemoteFolder) -> bytes:
        puts.append(remote.uri)
        return put_folder(folder, remote)

    monkeypatch.setattr("sweeps.run.mirror.put_folder", count)
    assert mirror.share_model(tiny_backbone) == mirror.share_model(tiny_backbone)
    assert len(puts) == 1


def test_the_node_that_put_a_model_does_not_fetch_it(
    mirror: Mirror, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_backbone, tmp_path / "own")
    uri = mirror.share_model(model)
    with monkeypatch.context() as patch:
        patch.setattr("scpo.files.buckets.get_files", None)
        copy = local_copy(uri)
    assert content_hash(copy) == content_hash(tiny_backbone)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)  # which the copy shares
    monkeypatch.setattr("scpo.files.buckets._VERIFIED", set())  # as in another process
    assert content_hash(local_copy(uri)) == content_hash(tiny_backbone)  # fetched after all


def test_final_models_are_fetched_on_request(mirror: Mirror, tiny_backbone: Path) -> None:
    put_folder(tiny_backbone, mirror.remote / "models/mexico")
    with working_folder(mirror.remote.uri) as (folder, _):
        assert not (folder / "models").exists()
    with working_folder(mirror.remote.uri, models=True) as (folder, _):
        assert content_hash(folder / "models" / "mexico") == content_hash(tiny_backbone)
        (folder / "models" / "mexico" / "README.md").write_text("a card")
    assert mirror.remote.read("models/mexico/README.md") == b"a card"
    assert local_copy(f"{mirror.remote.uri}/models/mexico").is_dir()


def test_what_is_written_into_a_working_folder_is_put(mirror: Mirror) -> None:
    with working_folder(mirror.remote.uri) as (folder, _):
        (folder / "leaderboard.csv").write_text("country\n")
        (folder / ".x.tmp").write_text("half")
        (folder / ".tune").mkdir()
        (folder / ".tune" / "state").write_text("of this node")
    assert mirror.remote.read("leaderboard.csv") == b"country\n"
    assert mirror.remote.names() == [
        "config.yaml",
        "data/interactions.parquet",
        "files.json",
        "leaderboard.csv",
    ]


def test_a_cache_in_a_bucket_is_shared_part_by_part(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = f"{bucket}/cache"
    with shared_cache(cache) as folder:
        (folder / "reference" / "k").mkdir(parents=True)
        (folder / "reference" / "k" / "part-1.parquet").write_bytes(b"one")
        (folder / "tokens").mkdir()
        (folder / "tokens" / "part-2.arrow").write_bytes(b"made anew")
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "elsewhere"))
    with shared_cache(cache) as folder:
        assert folder == local_cache(cache)
        assert (folder / "reference" / "k" / "part-1.parquet").read_bytes() == b"one"
    assert RemoteFolder(cache).names() == ["reference/k/part-1.parquet"]
    with shared_cache(tmp_path / "plain") as folder:
        assert folder == tmp_path / "plain"
