"""Every command on bad files, names, numbers, flags, models and configurations.

Whatever is given, the command ends with exit code 2 and one line that begins with "scpo: "; no
traceback is shown. A sample runs always, all of it as `exhaustive`.
"""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import ray
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from scpo.__main__ import COMMANDS, main
from scpo.config import SyntheticConfig
from scpo.data.interactions import write_interactions
from scpo.data.sources.synthetic import make_synthetic

PER_COMMAND = 40
SAMPLE = 4  # of each command, in the quick suite
LONG = "x" * 300
HUGE = "9" * 5000
ODD_NAMES = (
    "", " ", "[/x]", "[bold]lr[1e-5][/bold]", "a\x1b[31mb", "\u202eabc", "日本 🇯🇵", "a\nb", "\0",
    "..", LONG, "=", "a=b", "-", "%s{}", "\ud800", "NO", "~",
)  # fmt: skip
NUMBERS = ("", "x", "-1", "nan", "inf", "1e400", HUGE, "0x10", "1,5", "--", "\u0663x")
WHOLE = ("", "x", "-1", "nan", "1.5", HUGE, "1e3", "0x10", "\0", "-99999999999999999999")
CONFIGS = {
    "empty": "",
    "list": "- a\n- b\n",
    "word": "word",
    "number": "9" * 6000,
    "tab": "name: x\n\tsearch: 1\n",
    "twice": "name: x\nname: y\n",
    "cut": "name: x\nsearch: {num_trials: [1",
    "deep": "[" * 3000,
    "itself": "a: &a [*a]\n",
    "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join(['*' + o] * 9)}]\n" for o, n in pairwise("abcdefg")),
    "python": "name: !!python/object/apply:os.getcwd []\n",
    "binary": b"\x00\xff\xfe\x01" * 50,
    "latin": "name: Türkiye\n".encode("latin-1"),
    "documents": "name: x\n---\nname: y\n",
    "keys": "1: x\n? [a]\n: y\n",
    "foreign": "lr: 1\nmodel: gpt\n",
    "nulls": "name: ~\nsearch: ~\ndata: ~\n",
    "wrong": "name: x\ncountries: [NO, ~, 3]\nbeta: .nan\nsearch: {num_trials: 0, sampler: t}\n",
    "secret": "name: x\ncountries: [a]\ncache: s3://K:SECRETSECRET@bucket\n",
    "variable": "name: x\ncountries: [a]\ndata: {path: '${HF_TOKEN}'}\n",
    "unset": "name: x\ncountries: [a]\ndata: {path: '${NO_SUCH_VARIABLE}'}\n",
    "misspelt": "name: x\ncountries: [a]\nfinal: {lanes: {worker: 2}}\n",
    "keyed": "name: x\ncountries: [a]\ncountry_lanes: {a: {worker: 2}}\n",
    "path": "name: x\ncountries: [a]\nglobal_model: {name: /no/such}\ndata: {path: /no/such}\n",
    "huge": "name: x\ncountries: [a]\nsearch: {seed: " + "9" * 40 + "}\n",
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What stands in for good input, and for bad."""

    good: dict[str, str]
    bad: dict[str, tuple[str, ...]]


OVERRIDES = (
    "x", "=1", "a.b.c=1", "epochs=[1", "seed=-1", f"seed={HUGE}", "epochs=nan", "epochs=-inf",
    "learning_rate=null", "a=s3://K:SECRETSECRET@b", "hf_token=abcdefgh", "seed=~", "\0=1",
    "epochs=" + "[" * 3000, "epochs={a: 1, a: 2}", "seed=[1, 2]", "epochs=!!python/name:os.system",
)  # fmt: skip

# Each command's words: GOOD?KIND may be made bad, and ?KIND has the good input of its kind.
LINES = {
    "prepare": "pairs?word --path ?file --out ?out --user-column user?name --country-column "
    "country?name --default-country Chile?name --on-bad-rows stop?word --set synthetic.seed=1?set",
    "train-global": "--data ?data --backbone ?backbone --out ?out --exclude Arvandia?name "
    "--extra-pairs ?file --max-extra-pairs 9?whole --max-tokens 64?whole --set epochs=1?set",
    "score": "--data ?data --global-model ?model --countries Arvandia?name --cache ?cache "
    "--max-tokens 64?whole --overlong drop?word --precision auto?word",
    "train": "--data ?data --global-model ?model --country Arvandia?name --out ?out "
    "--arm scpo?word --tau 0.7?number --beta 1.1?number --zero-stage 2?whole "
    "--offload none?word --cache ?cache --max-tokens 64?whole --overlong truncate_left?word "
    "--set seed=1?set",
    "evaluate": "--data ?data --global-model ?model --model ?label --country Arvandia?name "
    "--part test?word --out ?out --cache ?cache --max-tokens 64?whole --overlong drop?word",
    "opinions": "--out ?out --model ?label --path ?file --countries Chile?name "
    "--min-questions 9?whole --part all?word --temperature 0.7?number --max-tokens 64?whole",
    "plan": "?config --out ?out --lanes 1?whole --set search.seed=1?set",
    "probe": "?config --out ?out --settings 9?whole --set search.seed=1?set",
    "sweep": "?config --out ?out --set search.seed=1?set",
    "demo": "--out ?out --seed 1?whole --set data.synthetic.users_per_country=1 "
    "--set search.seed=1?set",
    "ablate": "?config --out ?out --seed 0?whole --part test?word --set search.seed=1?set",
    "rank": "?run",
    "curves": "?run --target 0.7?number",
    "report": "?run",
    "repair": "?data",
    "watch": "?run --once",
    "track": "?run --to mlflow?word",
    "score-file": "?model ?file --out ?out --precision auto?word",
    "rerank": "?model ?file --out ?out --precision auto?word",
    "serve": "?served --precision auto?word",
    "export": "?data --out ?out",
    "science": "truth?word --out ?out --size small?word --workers 1?whole",
    "study": "?config --out ?out --only x?name --page ?out --workers 1?whole",
    "doctor": "?config --address ?address --out x?name --set search.seed=1?set",
    "submit": "?config --out /mnt/x?word --address ?address --name x?name --env HOME?name "
    "--set search.seed=1?set",
    "jobs": "--address ?address --profile ?config",
    "status": "x?name --address ?address",
    "logs": "x?name --address ?address",
    "stop": "x?name --address ?address",
    "fetch": "x?name --to ?out --address ?address",
}
LENIENT = ("name", "address")  # odd names are names, an empty address is none
FLAGS = (["--no-such-flag"], ["-x"], ["--out"], ["extra", "words"], ["--set"], ["--hlep"])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Good and bad input of each kind, as words of a command line."""
    return make_parts(tmp_path_factory.mktemp("inputs"))


def make_parts(folder: Path) -> Parts:
    model = save_model(folder / "model")
    broken = [break_model(model, folder / f"model-{n}", how) for n, how in enumerate(DEFECTS)]
    configs = []
    for name, text in CONFIGS.items():
        file = folder / f"{name}.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        configs.append(str(file))
    runs = []
    for name in ("empty", "twice", "foreign", "deep", "nulls"):
        run = folder / f"run-{name}"
        run.mkdir()
        text = CONFIGS[name]
        (run / "config.yaml").write_text(str(text))
        (run / "trials.jsonl").write_text('{"trial_id": 3}\n{"x": NaN}\nno json\n')
        runs.append(str(run))
    data = folder / "data"
    data.mkdir()
    world = SyntheticConfig(num_countries=2, users_per_country=6, interactions_per_user=1)
    write_interactions(make_synthetic(world).interactions, data / "interactions.parquet")
    whole = (data / "interactions.parquet").read_bytes()
    datas = []
    for name, content in (
        ("cut", whole[: len(whole) // 2]),
        ("none", b""),
        ("junk", b"PAR1" + b"\xff" * 400 + b"PAR1"),
        ("text", b"version https://git-lfs.github.com/spec/v1\n"),
        ("flipped", whole[:-9] + bytes([whole[-9] ^ 255]) + whole[-8:]),
    ):
        (folder / f"data-{name}").mkdir()
        (folder / f"data-{name}" / "interactions.parquet").write_bytes(content)
        datas.append(str(folder / f"data-{name}"))
    files = {
        "none.jsonl": b"", "junk.jsonl": b"\xff\xfe\x00" * 99, "list.jsonl": b"[1]\n2\n",
        "cut.jsonl": b'{"prompt": "a', "cut.csv": b'prompt,chosen\n"a', "junk.parquet": b"PAR1",
        "junk.jsonl.gz": b"\x1f\x8bxx", "odd.txt": b"x", "deep.jsonl": b"[" * 90_000,
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    good_file = folder / "good.jsonl"
    good_file.write_text('{"prompt": "a", "chosen": "b", "rejected": "c", "country": "Chile"}\n')
    nowhere = [
        str(folder / "nowhere"),
        f"{folder}/{LONG}",
        "",
        "\0",
        "s3://",
        "s3://K:SECRET12@b/x",
    ]
    filed = [*nowhere, str(folder), *(str(folder / name) for name in files)]
    occupied = folder / "occupied"
    occupied.write_text("a file")
    good_config = folder / "good.yaml"
    good_config.write_text(
        f"name: x\ncountries: [Arvandia]\nglobal_model: {{name: {model}}}\n"
        f"data: {{source: prepared, path: {data}}}\n"
    )
    # A server meets the template in a request with messages only.
    raising = next(
        path
        for path, (_, text) in zip(broken, DEFECTS, strict=True)
        if text is not None and b"raise_exception" in text
    )
    good = {
        "file": str(good_file), "out": str(folder / "out"), "data": str(data),
        "backbone": str(model), "model": str(model), "served": str(model),
        "cache": str(folder / "cache"),
        "label": f"a={model}",
        "config": str(good_config), "run": str(folder / "run-foreign"),
        "address": "http://127.0.0.1:9",
    }  # fmt: skip
    bad = {
        "file": tuple(filed),
        "out": (str(occupied), str(occupied / "below"), "\0", f"{folder}/{LONG}", "s3://K:SECRET12@b/x"),
        "set": OVERRIDES,
        "data": (*nowhere, *datas, str(occupied)),
        "backbone": (*nowhere, *broken),
        "model": (*nowhere, *broken, *ODD_NAMES),
        "served": (*nowhere, *(path for path in broken if path != raising), *ODD_NAMES),
        "name": ODD_NAMES,
        "whole": WHOLE,
        "number": NUMBERS,
        "word": ("", "SCPO", *ODD_NAMES),
        "cache": (str(occupied), "\0", f"{folder}/{LONG}"),
        "label": ("", "=", "a=", "=b", "a", *(f"a={model}" for model in broken), "[x]=\0"),
        "config": (*nowhere, str(folder), *configs),
        "run": (*nowhere, *runs, str(folder), str(occupied)),
        "address": ("", "x", "http://", "http://127.0.0.1:9", "ray://127.0.0.1:9", "http://[::",
                    "http://127.0.0.1:99999", "ftp://x", "http://K:SECRET12@127.0.0.1:9", "\0"),
    }  # fmt: skip
    return Parts(good, bad)


def save_model(folder: Path) -> Path:
    """A BERT of one narrow layer, with its reward head."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=len(words), num_attention_heads=1, num_labels=1, **shape)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


DEFECTS: Sequence[tuple[str, bytes | None]] = (
    ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
    ("model.safetensors", b""),
    ("model.safetensors", b"\xff" * 500),
    ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"{" * 16),
    ("model.safetensors", None),
    ("config.json", b""),
    ("config.json", b"[]"),
    ("config.json", b'{"model_type": "nothing"}'),
    ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
    ("config.json", b"{" * 5000),
    ("config.json", None),
    ("tokenizer.json", b"{}"),
    ("tokenizer.json", b"\xff"),
    ("tokenizer_config.json", b'{"chat_template": "{% for"}'),
    ("tokenizer_config.json", b'{"chat_template": "{{ raise_exception(1) }}"}'),
    ("adapter_config.json", b'{"base_model_name_or_path": null}'),
)


def break_model(model: Path, folder: Path, defect: tuple[str, bytes | None]) -> str:
    copytree(model, folder)
    name, content = defect
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return str(folder)


def bad_lines(command: str, parts: Parts, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Return command lines of a command with one bad word each, and the kind of that word."""
    words = [word.rpartition("?")[::2] for word in LINES[command].split()]
    good = [text or parts.good[kind] if kind in parts.bad else kind for text, kind in words]
    lines = [("flag", [*good, *flag]) for flag in FLAGS]
    for number, (_, kind) in enumerate(words):
        for bad in parts.bad.get(kind, ()):
            lines.append((kind, [*good[:number], bad, *good[number + 1 :]]))
    random.Random(seed).shuffle(lines)
    return [(kind, [command, *line]) for kind, line in lines[:PER_COMMAND]]


Faults = Callable[[Sequence[tuple[str, list[str]]]], list[str]]


@pytest.fixture
def faults(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Faults:
    """Runs command lines, and returns what is wrong with how they end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCPO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(ray, "init", _refuse_ray)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def run(lines: Sequence[tuple[str, list[str]]]) -> list[str]:
        found = []
        for kind, line in lines:
            monkeypatch.setattr(sys, "argv", ["scpo", *line])
            code: object = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code
            except BaseException as error:
                code = repr(error)
            out, err = capfd.readouterr()
            said = [text for text in err.splitlines() if text.startswith("scpo: ")]
            shows = "Traceback" in out + err or "SECRETSECRET" in out + err
            is_told = code == 2 and len(said) == 1 and err.startswith("scpo: ")
            if shows or not (is_told or (code == 0 and kind in LENIENT)):
                found.append(f"{kind} {[word[:80] for word in line]}: {code}, {err[-600:]}")
            for made in tmp_path.iterdir():
                if made.is_dir() and made.name != "home":
                    rmtree(made)
        return found

    return run


def _refuse_ray(**_: object) -> None:
    raise RuntimeError("Ray must not start here.")


def test_a_line_for_each_command() -> None:
    names = {each.__name__.replace("_", "-") for group in COMMANDS.values() for each in group}
    assert names == LINES.keys()


@pytest.mark.parametrize("command", LINES)
def test_some_bad_input_is_one_line(command: str, parts: Parts, faults: Faults) -> None:
    assert faults(bad_lines(command, parts)[:SAMPLE]) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", LINES)
def test_bad_input_is_one_line(command: str, parts: Parts, faults: Faults) -> None:
    assert faults(bad_lines(command, parts)) == []
