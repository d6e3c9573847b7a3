"""The hub on loopback through the real clients: what they ask, and what they make of faults."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2ForSequenceClassification,
    DebertaV2Tokenizer,
)

from scpo.data.reading.bad_rows import BadRows
from scpo.data.sources.global_opinions import read_global_opinions
from scpo.data.sources.prism import read_prism
from scpo.models.model_source import MODEL_FILES, find_model
from tests.hub.answers import READER_TOKEN, STRANGER_TOKEN
from tests.hub.data_sets import COUNTRIES, OPINIONS, PRISM
from tests.hub.models import DEBERTA, GATED, LLAMA
from tests.hub.repositories import Repository
from tests.hub.server import Fault, HubControl, HubServer

WEIGHTS = "model.safetensors"


def deberta_of(hub: HubServer) -> Repository:
    return Repository(hub.root, "models", DEBERTA)


def asked(hub: HubServer, method: str, part: str) -> list[str]:
    return [seen.path for seen in hub.log if seen.method == method and part in seen.path]


def test_a_snapshot_is_the_published_commit_over_plain_http(hub_here: HubServer) -> None:
    folder = Path(snapshot_download(DEBERTA))
    commit = deberta_of(hub_here).commits[0]
    assert folder.name == commit
    published = hub_here.root / "models" / DEBERTA / commit
    names = {path.name for path in published.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    assert all((folder / name).read_bytes() == (published / name).read_bytes() for name in names)
    assert [seen.status for seen in hub_here.log if WEIGHTS in seen.path] == [302, 200]
    assert not [seen for seen in hub_here.log if "xet" in seen.path]


def test_patterns_leave_the_pickled_weights(hub_here: HubServer) -> None:
    folder = Path(snapshot_download(DEBERTA, allow_patterns=list(MODEL_FILES)))
    assert (folder / WEIGHTS).is_file()
    assert not asked(hub_here, "GET", "pytorch_model.bin")


def test_branch_tag_and_commit_name_the_older_weights(hub_here: HubServer) -> None:
    newest, oldest = deberta_of(hub_here).commits
    folders = {
        Path(snapshot_download(DEBERTA, revision=revision, allow_patterns=[WEIGHTS]))
        for revision in ("older", "v1", oldest)
    }
    (folder,) = folders
    assert folder.name == oldest
    now = Path(snapshot_download(DEBERTA, allow_patterns=[WEIGHTS]))
    assert now.name == newest
    key = "classifier.weight"
    head, changed = load_file(folder / WEIGHTS)[key], load_file(now / WEIGHTS)[key]
    assert head.abs().min() > 0
    assert not torch.equal(head, changed)


def test_a_new_commit_is_seen_under_main(hub_here: HubServer) -> None:
    before = snapshot_download(DEBERTA)
    commit = deberta_of(hub_here).publish({"config.json": b"{}"})
    after = Path(snapshot_download(DEBERTA))
    assert after.name == commit != Path(before).name
    assert [path.name for path in after.iterdir()] == ["config.json"]


def test_transformers_loads_the_deberta_by_name(hub_here: HubServer) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(DEBERTA)
    tokenizer = AutoTokenizer.from_pretrained(DEBERTA)
    assert type(model) is DebertaV2ForSequenceClassification
    assert type(tokenizer) is DebertaV2Tokenizer
    assert model.config.num_labels == 1
    texts = ["Hey, good one!", "zyx", "qrs"]  # no unknown word is like another one
    batch = tokenizer(["Why?"] * 3, texts, padding=True, return_tensors="pt")
    assert tokenizer.unk_token_id not in batch["input_ids"]
    rewards = model(**batch).logits.flatten()
    assert len(set(rewards.tolist())) == 3


def test_the_llama_has_a_chat_template(hub_here: HubServer) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(LLAMA)
    tokenizer = AutoTokenizer.from_pretrained(LLAMA)
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Hey"}]
    text = tokenizer.apply_chat_template(said, tokenize=False)
    assert text == "<|begin_of_text|><|user|>Why?<|assistant|>Hey<|end_of_text|>"
    assert model.config.architectures == ["LlamaForSequenceClassification"]


def test_prism_and_opinions_load_through_the_product(hub_here: HubServer) -> None:
    bad_rows = BadRows("stop")
    table = read_prism(PRISM, bad_rows)
    assert table.num_rows == 9 * 10 * 4
    assert set(table["country"].to_pylist()) == set(COUNTRIES)
    assert {len(shown) for shown in table["responses"].to_pylist()} == {4, 2}
    assert all(1 <= score <= 100 for row in table["scores"].to_pylist() for score in row)
    questions = read_global_opinions(OPINIONS, bad_rows)
    assert len(questions) == 24
    assert all(set(question.shares) == set(COUNTRIES) for question in questions)


def test_offline_a_warm_cache_is_enough_and_a_cold_one_is_not(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = snapshot_download(DEBERTA)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_here.log.clear()
    assert snapshot_download(DEBERTA) == folder
    with pytest.raises(LocalEntryNotFoundError, match="HF_HUB_OFFLINE"):
        snapshot_download(LLAMA)
    assert hub_here.log == []


def test_a_gated_model_needs_a_token_that_may_read_it(hub_here: HubServer) -> None:
    with pytest.raises(GatedRepoError, match="401 Client Error"):
        snapshot_download(GATED)
    with pytest.raises(GatedRepoError, match="403 Client Error"):
        snapshot_download(GATED, token=STRANGER_TOKEN)
    folder = Path(snapshot_download(GATED, token=READER_TOKEN))
    assert (folder / WEIGHTS).is_file()
    stored = [seen for seen in hub_here.log if seen.path.startswith("/storage/")]
    assert [seen.token for seen in stored if WEIGHTS in seen.path] == [None]
    assert HfApi().whoami(READER_TOKEN)["name"] == "reader"


def test_wrong_names_are_told_apart(hub_here: HubServer) -> None:
    with pytest.raises(RepositoryNotFoundError, match="401"):
        snapshot_download("no-one/nothing")
    with pytest.raises(RepositoryNotFoundError, match="404"):
        snapshot_download("no-one/nothing", token=READER_TOKEN)
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: nowhere"):
        snapshot_download(DEBERTA, revision="nowhere")


def test_the_api_lists_files_and_refs(hub_here: HubServer) -> None:
    api, (newest, oldest) = HfApi(), deberta_of(hub_here).commits
    info = api.model_info(DEBERTA, files_metadata=True)
    assert info.sha == newest
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    assert sizes[WEIGHTS] == (hub_here.root / "models" / DEBERTA / newest / WEIGHTS).stat().st_size
    assert api.model_info(DEBERTA, expand=["gated"]).siblings is None
    refs = api.list_repo_refs(DEBERTA)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {
        "older": oldest,
        "main": newest,
    }
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", oldest)]
    (found,) = api.get_paths_info(DEBERTA, [WEIGHTS, "none.json"])
    assert found.path == WEIGHTS
    files = {"README.md", "data", "data/global_opinions.csv"}
    assert {
        e.path for e in api.list_repo_tree(OPINIONS, recursive=True, repo_type="dataset")
    } == files


def test_a_broken_download_resumes_where_it_broke(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # less than a chunk is dropped
    hub_here.faults.append(Fault(WEIGHTS, method="GET", after_bytes=1000))
    folder = Path(snapshot_download(DEBERTA))
    gets = [seen for seen in hub_here.log if seen.method == "GET" and WEIGHTS in seen.path]
    assert [(seen.status, seen.range) for seen in gets] == [(200, None), (206, "bytes=1000-")]
    published = hub_here.root / "models" / DEBERTA / folder.name / WEIGHTS
    assert (folder / WEIGHTS).read_bytes() == published.read_bytes()


def test_a_hub_that_dies_in_mid_download_leaves_no_half_file(hub_here: HubServer) -> None:
    hub_here.faults.append(Fault(WEIGHTS, method="GET", after_bytes=1000, stop=True))
    with pytest.raises(Exception, match="Connection refused"):
        snapshot_download(DEBERTA, allow_patterns=[WEIGHTS])
    (snapshot,) = (Path(constants.HF_HUB_CACHE) / f"models--{DEBERTA.replace('/', '--')}").glob(
        "snapshots/*"
    )
    assert not (snapshot / WEIGHTS).exists()
    hub_here.faults.clear()
    hub_here.start()
    assert (Path(snapshot_download(DEBERTA)) / WEIGHTS).is_file()


def test_a_reset_connection_is_not_tried_again(hub_here: HubServer) -> None:
    hub_here.faults.append(Fault(WEIGHTS, method="GET", after_bytes=1000, reset=True))
    with pytest.raises(Exception, match="reset by peer"):
        snapshot_download(DEBERTA)
    assert len(asked(hub_here, "GET", WEIGHTS)) == 1


def test_errors_silence_and_absence_of_the_hub(
    hub_here: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_here.faults.append(Fault(WEIGHTS, method="GET", status=500, times=None))
    with pytest.raises(HfHubHTTPError, match="500"):
        snapshot_download(DEBERTA)
    hub_here.faults[:] = [Fault("/api/", delay_s=60.0, times=None)]
    with pytest.raises(Exception, match="timed out"):
        HfApi().dataset_info(PRISM, timeout=0.05)
    hub_here.stop()
    with pytest.raises(LocalEntryNotFoundError, match="Connection refused"):
        snapshot_download(LLAMA)
    with pytest.raises(ConnectionError, match=f"{PRISM} could not be fetched"):
        read_prism(PRISM, BadRows("stop"))


def test_nodes_that_share_nothing_load_one_commit(
    hub_here: HubServer, hub_env: dict[str, str], tmp_path: Path
) -> None:
    commit = find_model(DEBERTA).folder().name
    deberta_of(hub_here).publish({"config.json": b"{}"})
    code = (
        "import sys, huggingface_hub as hub\n"
        "print(hub.snapshot_download(sys.argv[1], revision=sys.argv[2]))"
    )
    node = subprocess.run(
        [sys.executable, "-c", code, DEBERTA, commit],
        env=hub_env | {"HF_HOME": str(tmp_path / "node")},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(node.stdout.strip())
    assert folder.is_relative_to(tmp_path / "node")
    assert folder.name == commit
    assert len(asked(hub_here, "HEAD", f"{commit}/{WEIGHTS}")) == 2


def test_a_hub_of_its_own_process_is_told_of_faults(hub_process: str) -> None:
    control = HubControl(hub_process)
    control.set_faults(Fault("/api/models", status=503))
    api = HfApi(hub_process)
    with pytest.raises(HfHubHTTPError, match="503"):
        api.model_info(DEBERTA)
    assert api.model_info(DEBERTA).id == DEBERTA
    assert [seen.status for seen in control.log()] == [503, 200]
    control.clear_log()
    assert control.log() == []


def test_an_impatient_command_tries_again_at_once(
    hub: HubServer, hub_env: dict[str, str], tmp_path: Path
) -> None:
    hub.stop()
    command = [sys.executable, "-m", "tests.hub.impatient", "scpo", "prepare", "prism", "--out"]
    ran = subprocess.run(
        [*command, str(tmp_path / "out")], env=hub_env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.count("Retrying in") == 5  # 23 seconds for the patient
    assert f"The data set {PRISM} could not be fetched" in ran.stderr.splitlines()[-1]
