"""Models and runs of somebody else: whatever they hold, none of it runs here.

Each holds a program that would write a file, the canary, if anything ran it.
"""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import scpo
from scpo.files.atomic import hash_values
from scpo.models.folder.contract import FACTS_FILE
from scpo.models.loading import load_reward_model
from scpo.models.model_cost import measure_model
from scpo.tokens import chat_template
from scpo.tokens.chat_template import TemplateFailure, render_conversations
from scpo.training.checkpoints import _restore_random_states
from scpo.training.engines import STATE_FILE, TorchEngine
from sweeps.ledger.end_file import END_NAME
from sweeps.run.pins import RUN_FILE, update_run_file
from sweeps.run.run_folder import read_run_config
from tests.faults.finished_run import MODEL
from tests.faults.readers import copy_of, rank, report, run_command
from tests.faults.table import shorten

Tell = Callable[..., None]


class Bomb:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"


@pytest.fixture
def model(finished_run: Path, tmp_path: Path) -> Path:
    """A stranger's model: whole, and without our checksums."""
    folder = tmp_path / "model"
    shutil.copytree(finished_run / "global", folder)
    (folder / FACTS_FILE).unlink()
    return folder


def program(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()\nclass Evil:\n    pass\n"


def change_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def bring_code(model: Path, canary: Path) -> Path:
    """Let a model bring a program of its own, for configuration and class."""
    (model / "evil.py").write_text(program(canary))
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    auto_map = {name: "evil.Evil" for name in names}
    change_json(model / "config.json", auto_map=auto_map, model_type="evil")
    return model


def told(kind: str, canary: Path, said: str, tell: Tell) -> None:
    tell(kind, 1, ["it ran"] if canary.exists() else [], says=shorten(said, canary.parent))


def test_the_canary_is_written_where_something_runs(model: Path, canary: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists()
    canary.unlink()
    with pytest.raises(ValueError, match="transformers cannot load it"):
        load_reward_model(bring_code(model, canary), trust_remote_code=True)
    assert canary.exists()


def test_a_model_s_own_class(model: Path, canary: Path, tell: Tell) -> None:
    with pytest.raises(ValueError, match="transformers cannot load it") as raised:
        load_reward_model(bring_code(model, canary))
    told("auto_map in a model's config.json", canary, str(raised.value)[-120:], tell)


def test_a_model_s_own_tokenizer(model: Path, canary: Path, tell: Tell) -> None:
    (model / "evil.py").write_text(program(canary))
    file = model / "tokenizer_config.json"
    change_json(file, auto_map={"AutoTokenizer": ["evil.Evil", None]}, tokenizer_class="Evil")
    try:
        load_reward_model(model)
        said = "read as the tokenizer of its files"
    except ValueError as error:
        said = str(error)[-120:]
    told("auto_map in tokenizer_config.json", canary, said, tell)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights(model: Path, canary: Path, name: str, tell: Tell) -> None:
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(FileNotFoundError, match="pickled weights") as raised:
        load_reward_model(model)
    told(f"pickled weights, {name}", canary, str(raised.value)[-120:], tell)


def test_weights_of_another_name(model: Path, canary: Path, tell: Tell) -> None:
    (model / "other.safetensors.index.json").write_text('{"weight_map": {"x": "x.bin"}}')
    change_json(model / "config.json", transformers_weights="other.safetensors.index.json")
    (model / "x.bin").write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(ValueError, match=r"transformers_weights names 'other\.") as raised:
        load_reward_model(model)
    told("weights that config.json names otherwise", canary, str(raised.value)[-120:], tell)


@pytest.mark.parametrize("nested", [False, True])
def test_layers_without_end(model: Path, canary: Path, nested: bool, tell: Tell) -> None:
    layers = {"num_hidden_layers": 10_000_000}
    change_json(model / "config.json", **({"text_config": layers} if nested else layers))
    for read in (load_reward_model, partial(measure_model, max_tokens=64, precision="fp32")):
        with pytest.raises(ValueError, match=r"num_hidden_layers must be 1,024 at most") as raised:
            read(str(model))
    told("layers without end in config.json", canary, str(raised.value)[-120:], tell)


def test_a_length_that_is_no_number(model: Path, canary: Path, tell: Tell) -> None:
    change_json(model / "tokenizer_config.json", model_max_length="long")
    with pytest.raises(ValueError, match=r"its tokenizer .* cannot be read: TypeError") as raised:
        load_reward_model(model)
    told("model_max_length that is a text", canary, str(raised.value)[-120:], tell)


def test_a_pickled_adapter_and_a_base_with_code(model: Path, canary: Path, tell: Tell) -> None:
    adapter = model.with_name("adapter")
    adapter.mkdir()
    base = bring_code(model, canary)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "target_modules": ["query"],
        "auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"},
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(canary)))
    shutil.copy(base / "evil.py", Path.cwd())
    with pytest.raises(FileNotFoundError, match="pickled weights are not read"):
        load_reward_model(adapter)
    shutil.copy(base / "model.safetensors", adapter / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="transformers cannot load it") as raised:
        load_reward_model(adapter)
    told("an adapter whose base brings code", canary, str(raised.value)[-120:], tell)


def test_a_header_without_end(model: Path, canary: Path, tell: Tell) -> None:
    (model / "model.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="must be a whole safetensors file") as raised:
        load_reward_model(model)
    told("safetensors with a huge header", canary, str(raised.value)[-120:], tell)


def test_a_pickled_checkpoint(canary: Path, tell: Tell) -> None:
    for name in (STATE_FILE, "random-rank-00000.pt"):
        torch.save({"python": Bomb(canary), "model": Bomb(canary)}, canary.with_name(name))
    states = canary.with_name("random-rank-00000.pt")
    engine = SimpleNamespace(device="cpu")
    for load in (
        lambda: TorchEngine.load_state(engine, canary.parent),  # type: ignore[arg-type]
        lambda: _restore_random_states(states, torch.device("cpu")),
    ):
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            load()
    told("a checkpoint's states with a program", canary, "Weights only load failed", tell)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("that reaches for os", "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}"),
        ("that walks classes", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ("without end", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}"),
    ],
)
def test_a_chat_template(
    kind: str, body: str, canary: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "RENDER_S", 0.5)
    chat_template._stop()  # one with the usual bound may run already
    template = body.replace("CANARY", str(canary)) + "{% endfor %}" * ("endfor" in body)
    with pytest.raises(TemplateFailure) as raised:
        render_conversations(template, {}, [[{"role": "user", "content": "a"}]])
    chat_template._stop()
    told(f"a chat template {kind}", canary, str(raised.value), tell)


def trusted(run: Path, canary: Path) -> Path:
    """Make a run one that asks to trust its models, which bring a program; its sums fit."""
    file = run / "config.yaml"
    file.write_text(
        file.read_text().replace("trust_remote_code: false", "trust_remote_code: true")
    )
    for model in (run / "global", run / MODEL):
        (model / FACTS_FILE).unlink()
        bring_code(model, canary)
    for name in (RUN_FILE, END_NAME):
        (run / name).unlink()
    lines = (run / "trials.jsonl").read_text().splitlines()
    bodies = [line.partition(', "sum": ')[0] + "}" for line in lines]  # as before checksums
    records = [{**json.loads(body), "model_hash": None} for body in bodies]
    (run / "trials.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return run


def test_a_run_that_asks_for_trust(
    finished_run: Path, canary: Path, tell: Tell, tmp_path: Path
) -> None:
    run = trusted(copy_of(finished_run, tmp_path / "run"), canary)
    ended = run_command("evaluate", "--run", run)
    assert ended.code == 2
    assert "give --trust-remote-code" in ended.said
    assert rank(run).code == report(run).code == 0
    for load in (lambda: scpo.Run(run).model("Arvandia"), lambda: scpo.Run(run).mix({})):
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            load()
    told("a run whose config.yaml trusts its models", canary, ended.said, tell)


def test_a_run_that_names_variables_of_its_reader(
    finished_run: Path, canary: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SETTING", "not-for-strangers")
    run = copy_of(finished_run, canary.with_name("run"))
    (run / RUN_FILE).unlink()
    file = run / "config.yaml"
    named = re.sub("(?m)^  backbone: .*$", "  backbone: /no/${MY_SETTING}", file.read_text())
    file.write_text(named)
    backbone = read_run_config(run).global_model.backbone
    assert backbone == "/no/${MY_SETTING}"
    told("a run that names variables of its reader", canary, "left as written", tell)


def test_a_run_file_that_leads_out(
    finished_run: Path, canary: Path, tell: Tell, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    run = copy_of(finished_run, tmp_path / "run")
    pins = {"x": {"file": "../mine.txt", "sha256": hash_values(""), "made": True}}
    update_run_file(run, {"pins": pins, "command": ["touch", str(canary)]})
    ended = run_command("repair", run)
    assert mine.read_text() == "mine", ended.said
    update_run_file(run, {"pins": {"x": {**pins["x"], "file": str(mine)}}})
    run_command("repair", run)
    assert mine.read_text() == "mine"
    told("run.json that names commands and files outside", canary, "only named", tell)


def test_a_journal_that_is_a_pickle(
    finished_run: Path, canary: Path, tell: Tell, tmp_path: Path
) -> None:
    run = copy_of(finished_run, tmp_path / "run")
    (run / "optuna.journal").write_bytes(pickle.dumps(Bomb(canary)) + b"\n")
    with pytest.raises((ValueError, FileNotFoundError), match=r"optuna\.journal"):
        scpo.Run(run).study("Arvandia")
    told("optuna.journal that is a pickle", canary, "refused", tell)
