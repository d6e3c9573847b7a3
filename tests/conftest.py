"""Fixtures that every package's tests may use."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow.compute as pc
import pytest
import ray
import torch
from pyarrow.fs import FileSystem
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from scpo.config import SyntheticConfig
from scpo.data.sources.synthetic import make_synthetic
from scpo.evaluation.pair_scores import PairScores

pytest_plugins = ["tests.hub.fixtures"]

# Processes that no test needs: one that looks for nodes about to be taken away, in each training
# on Ray, and workers in advance, in each node.
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
os.environ["RAY_prestart_worker_first_driver"] = "0"
# Ray's workers would wait for every other process of a busy machine.
os.environ["RAY_worker_niceness"] = "0"
# Shells let what they start in the background ignore Ctrl-C, and every command would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that start clusters first: short ones then fill the workers to the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection() -> None:
    """Collect tests without looking for garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make, not among all that was imported for them.

    The server of forked processes starts before a test changes what it would inherit.
    """
    gc.freeze()
    gc.enable()
    if "tests.forked" in sys.modules:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_AUTH_MODE", "disabled")
            forkserver.ensure_running()


@pytest.fixture(autouse=True)
def _own_environment() -> None:
    """Take back what a command that ran in this process set for the processes that it starts."""
    os.environ.pop("PYTHONSAFEPATH", None)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; the test is skipped where there is none."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SCPO_DATA", default)).resolve()
    if not (folder / "prism" / "survey.jsonl").is_file():
        pytest.skip(f"no real data at {folder}; set SCPO_DATA to the folder that has it")
    return folder


def leave_ray() -> None:
    """Leave this process's Ray cluster, so that it may join another one.

    A search on a second cluster in one process has lost its lanes: such a test belongs in a
    process of its own (`tests.forked`).
    """
    ray.shutdown()
    gc.collect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two CPUs of this machine, never a cluster that happens to be near; one for all modules.

    It ends with the tests, or with a test that calls `leave_ray` to use another one.
    """
    if ray.is_initialized():
        return
    leave_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # the workers take over what the cluster starts with
        # As all clusters that tests start in this process: Ray keeps the first mode it meets.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)


@pytest.fixture(scope="session")
def store_server() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer  # slow to import

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URI of a new bucket, whose credentials and address are in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    name = f"bucket-{uuid4().hex[:12]}"
    store = FileSystem.from_uri("s3://?allow_bucket_creation=true")[0]
    store.create_dir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers without a reward head, whose words are the synthetic ones."""
    torch.manual_seed(0)
    texts = make_synthetic(
        SyntheticConfig(num_countries=1, users_per_country=6, seed=0)
    ).interactions
    said = [*texts["prompt"].to_pylist(), *pc.list_flatten(texts["responses"]).to_pylist()]
    words = {word for text in said for word in _words(text)}
    vocabulary = {word: n for n, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))}
    for word in sorted(words):
        vocabulary.setdefault(word, len(vocabulary))
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    model = BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
        )
    )
    folder = tmp_path_factory.mktemp("backbone") / "tiny-bert"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scored_countries() -> Callable[..., list[PairScores]]:
    """Rewards of models on made-up pairs: a country's own utility is the shared one, shifted."""
    return _score_countries


def _score_countries(
    countries: Sequence[str] = ("Chile", "Peru"),
    *,
    arms: Sequence[str] = ("full", "scpo"),
    parts: Sequence[str] = ("validation", "test"),
    users: int = 6,
    seed: int = 0,
) -> list[PairScores]:
    """Return `users` users a part, three interactions each of three responses, all pairs."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=6)
    own = {country: shared + rng.normal(size=6) for country in countries}
    models = {"global": shared} | {
        f"{country}/{arm}": own[country] + 0.3 * (number + 1) * rng.normal(size=6)
        for number, arm in enumerate(arms)
        for country in countries
    }
    scored = []
    for country in countries:
        shape = (len(parts) * users * 3, 3)
        responses = rng.normal(size=(*shape, 6))
        utility = responses @ own[country] + rng.gumbel(size=shape)
        order = np.argsort(-utility, axis=1)
        chosen, rejected = order[:, [0, 0, 1]], order[:, [1, 2, 2]]
        user = np.repeat(np.arange(len(parts) * users), 9)
        row = np.repeat(np.arange(shape[0]), 3)
        rewards = {name: responses @ weights for name, weights in models.items()}
        rewards["length"] = (100 + 40 * responses[:, :, 0]).round()
        ends = {
            name: np.column_stack(
                [np.take_along_axis(given, end, axis=1).ravel() for end in (chosen, rejected)]
            )
            for name, given in rewards.items()
        }
        places = zip(row, chosen.ravel(), rejected.ravel(), strict=True)
        numbers = 3 * row[:, None] + np.column_stack([chosen.ravel(), rejected.ravel()])
        scored.append(
            PairScores(
                country,
                np.array([f"user-{number}" for number in user]),
                np.array([f"{country}-{number}:{a}>{b}" for number, a, b in places]),
                np.array(parts)[user // users],
                ends["global"][:, 0] - ends["global"][:, 1],
                ends["length"][:, 0] - ends["length"][:, 1],
                numbers,
                ends,
            )
        )
    return scored


def _words(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
