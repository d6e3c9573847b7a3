"""What is wrong with the files of a model, found before transformers reads them.

transformers answers a pointer file or a cut one with a traceback, and missing tokenizer files
with a tokenizer that knows no words. Here each is one line that names the file.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from scpo.files.atomic import refuse_endless
from scpo.text.json_text import load_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
JSON_FILES = (
    *(CONFIG_FILE, "adapter_config.json", WEIGHTS_INDEX, "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json"),
)
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "*.vocab")
MAX_OBJECT_BYTES = 1 << 25  # of a file that is read as an object
MAX_WORDS_BYTES = 1 << 28  # of any other text; the largest tokenizers take 40 MB
MAX_LAYERS = 1024  # and experts; each is built before its weights are missed
_LAYERS = re.compile(r"(num|n)_(\w+_)?(layers?|experts)|(en|de)coder_layers")
POINTER = b"version https://git-lfs"


def check_model_files(folder: Path) -> None:
    """Refuse a whole model whose configuration or weights cannot be read as they are.

    Raises:
        FileNotFoundError: A file is missing; or the weights are pickled.
        ValueError: A file is a pointer, damaged or no JSON; the weights are quantized or of
            another name; or there are layers without end.
    """
    check_texts(folder)
    config = read_object(folder / CONFIG_FILE)
    check_layers(config, str(folder / CONFIG_FILE))
    if config.get("quantization_config") is not None:
        raise ValueError(
            f"{folder / CONFIG_FILE}: the weights are quantized (quantization_config), which is "
            "not read: rewards would differ and they cannot be trained. Take the model that is "
            "not quantized."
        )
    if other := config.get("transformers_weights"):
        raise ValueError(
            f"{folder / CONFIG_FILE}: the weights must be in {WEIGHTS_FILE} or the files of its "
            f"index, but transformers_weights names {other!r:.80}. Rename the file, and leave the "
            "setting out."
        )
    for file in _weight_files(folder):
        check_weights(file)


def check_layers(config: Mapping[str, Any], origin: str) -> None:
    """Refuse a configuration of more layers or experts than any model has, nested ones too.

    Raises:
        ValueError: It has over `MAX_LAYERS`.
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            check_layers(value, origin)
        elif isinstance(value, int) and value > MAX_LAYERS and _LAYERS.fullmatch(str(name)):
            raise ValueError(
                f"{origin}: {name} must be {MAX_LAYERS:,} at most, but is {value:,}. Copy or "
                "download the model again."
            )


def check_texts(folder: Path) -> None:
    """Refuse pointer files, and JSON files that do not parse."""
    for pattern in ("*.json", "*.txt", "*.model", "*.jinja"):
        for file in folder.glob(pattern):
            _refuse_pointer(file)
            _refuse_huge(file, MAX_WORDS_BYTES)
    for name in JSON_FILES:
        if (folder / name).is_file():
            read_object(folder / name)


def check_weights(file: Path) -> None:
    """Refuse a file that is no whole safetensors file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is a pointer, cut short or of another kind.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. Copy or download the model again.")
    _refuse_pointer(file)
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{file} must be a whole safetensors file, but of its {file.stat().st_size} bytes: "
            f"{error}. Copy or download it again."
        ) from error


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder holds the words of a tokenizer."""
    return any(next(folder.glob(pattern), None) for pattern in TOKENIZER_FILES)


def read_object(file: Path) -> dict[str, Any]:
    """Return what a JSON file of an object holds.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. Copy or download the model again.")
    _refuse_huge(file, MAX_OBJECT_BYTES)
    try:
        held = load_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} must be JSON, but {error}. Copy it again.") from error
    if not isinstance(held, dict):
        raise ValueError(f"{file} must hold a JSON object, but holds a {type(held).__name__}.")
    return held


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn whatever a library raises over a model's files into a line that names them.

    Raises:
        ValueError: It raised something; a full memory stays a full memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # transformers, tokenizers and peft raise any kind
        words = " ".join(str(error).split())[:400]
        raise ValueError(f"{what}: {type(error).__name__}: {words}") from error


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers takes the weights from."""
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    index = folder / WEIGHTS_INDEX
    if index.is_file():
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(map(_is_name, shards.values())):
            raise ValueError(
                f"{index}: weight_map must name a file of each weight. Copy it again."
            )
        return [folder / name for name in sorted(set(shards.values()))]
    pickled = [file.name for kind in ("*.bin", "*.pt", "*.pth") for file in folder.glob(kind)]
    if pickled:
        raise FileNotFoundError(
            f"{folder} holds no {WEIGHTS_FILE}, and pickled weights ({', '.join(pickled[:2])}) "
            "are not read, since they can run code. Save the model with safe_serialization=True."
        )
    raise FileNotFoundError(f"{folder} holds no weights: {WEIGHTS_FILE} is missing.")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _refuse_huge(file: Path, most: int) -> None:
    if file.stat().st_size > most:
        raise ValueError(
            f"{file} must have {most >> 20} MiB at most, as of every model that is known, but has "
            f"{file.stat().st_size >> 20} MiB. Copy or download the model again."
        )


def _refuse_pointer(file: Path) -> None:
    refuse_endless(file)
    with file.open("rb") as handle:
        if handle.read(len(POINTER)) == POINTER:
            raise ValueError(
                f"{file} is a pointer of git-lfs, not the file itself. Run `git lfs pull` there, "
                "or download the model again."
            )
