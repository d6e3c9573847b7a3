import math

import pytest
import yaml
from pydantic import Field

from scpo.config import (
    Config,
    DataConfig,
    GlobalModelConfig,
    SplitConfig,
    TrainingConfig,
    dump_config,
    load_config,
    parse_config,
    parse_options,
)


class Whole(Config):
    """Stands for a configuration of several rooms."""

    training: TrainingConfig = TrainingConfig()
    data: DataConfig = DataConfig()
    names: tuple[str, ...] = ()
    share: float = Field(0.5, ge=0, le=1)


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        file = tmp_path / "config.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def test_defaults_are_the_paper_s():
    training = TrainingConfig()
    assert (training.pairs_per_step, training.learning_rate) == (8, 1e-6)
    assert training.centring == 0.0


def test_a_file_becomes_checked_values(write):
    config = load_config(
        Whole, write("training: {learning_rate: 1e-5, epochs: 2}\nnames: [a, b]\nshare: 1\n")
    )
    assert config.training.learning_rate == 1e-5  # YAML 1.1 reads 1e-5 as a string
    assert config.training.epochs == 2.0
    assert config.names == ("a", "b")
    assert config.data == DataConfig()


def test_configurations_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig().epochs = 2.0


def test_an_unknown_key_names_the_nearest(write):
    with pytest.raises(ValueError, match=r"unknown key 'shar'; did you mean 'share'\?"):
        load_config(Whole, write("shar: 0.5"))
    match = r"unknown key 'training\.learning_rat'; did you mean 'training\.learning_rate'\?"
    with pytest.raises(ValueError, match=match):
        load_config(Whole, write("training: {learning_rat: 1}"))
    match = r"unknown key 'data\.synthetic\.shfit'; did you mean 'data\.synthetic\.shift'\?"
    with pytest.raises(ValueError, match=match):
        load_config(Whole, write("data: {synthetic: {shfit: 1}}"))


def test_an_unknown_key_like_no_other_lists_the_valid_ones(write):
    match = r"unknown key 'data\.zzz'; valid keys of data are source, path, .*synthetic\."
    with pytest.raises(ValueError, match=match):
        load_config(Whole, write("data: {zzz: 1}"))
    with pytest.raises(ValueError, match=r"'zzz'; valid keys are training, data, names, share\."):
        load_config(Whole, write("zzz: 1"))


def test_every_fault_is_listed(write):
    text = "training: {epochs: 0, precision: fp16}\nshare: 2\nnmes: []\n"
    with pytest.raises(ValueError, match=r"config\.yaml: ") as caught:
        load_config(Whole, write(text))
    message = str(caught.value)
    for part in (
        "training.epochs: Input should be greater than 0 (got 0)",
        "training.precision: Input should be 'auto', 'fp32' or 'bf16' (got 'fp16')",
        "share: Input should be less than or equal to 1 (got 2)",
        "unknown key 'nmes'; did you mean 'names'?",
    ):
        assert part in message


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(
    "key",
    ["learning_rate", "epochs", "weight_decay", "max_grad_norm", "centring"],
)
def test_nan_and_infinity_are_refused(write, key, value):
    with pytest.raises(ValueError, match=rf"training\.{key}: Input should be"):
        load_config(Whole, write(f"training: {{{key}: {value}}}"))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TrainingConfig, {"pairs_per_step": 0}, "pairs_per_step: Input should be greater"),
        (TrainingConfig, {"pairs_per_step": 1.5}, "pairs_per_step: Input should be a valid int"),
        (TrainingConfig, {"learning_rate": 0}, "learning_rate: Input should be greater than 0"),
        (TrainingConfig, {"weight_decay": -0.1}, "weight_decay: Input should be greater"),
        (TrainingConfig, {"seed": -1}, "seed: Input should be greater"),
        (TrainingConfig, {"seed": True}, "seed: Input should not be true or false"),
        (GlobalModelConfig, {"max_pairs": True}, "max_pairs: Input should not be true or false"),
        (SplitConfig, {"validation_share": 1.0}, "validation_share: Input should be less than 1"),
        (SplitConfig, {"min_users": 2}, "min_users: Input should be greater than or equal to 3"),
        (DataConfig, {"source": "csv"}, "source: Input should be 'prism'"),
        (DataConfig, {"on_bad_rows": "skip"}, "on_bad_rows: Input should be 'quarantine' or"),
        (GlobalModelConfig, {"max_pairs": 0}, "max_pairs: Input should be greater"),
        (Whole, {"names": "a"}, r"names: Input should be a list, such as \[a, b\] \(got 'a'\)"),
        (
            TrainingConfig,
            {"pairs_per_step": 2**62},
            "pairs_per_step: .*less than or equal to 1000000",
        ),
        (
            TrainingConfig,
            {"pairs_per_step": 8, "accumulation": 9},
            "`accumulation <= pairs_per_step` must hold, but got 9 and 8",
        ),
    ],
)
def test_values_out_of_range_are_refused(kind, values, message):
    with pytest.raises(ValueError, match=f"here: {message}"):
        parse_config(kind, values, "here")


def test_the_environment_is_read(write, monkeypatch):
    monkeypatch.delenv("SCPO_X", raising=False)
    text = "data: {path: '${SCPO_X:-/d}/a'}\ntraining: {epochs: '${SCPO_X:-3}'}"
    config = load_config(Whole, write(text))
    assert (config.data.path, config.training.epochs) == ("/d/a", 3.0)
    monkeypatch.setenv("SCPO_X", "7")
    config = load_config(Whole, write(text))
    assert (config.data.path, config.training.epochs) == ("7/a", 7.0)
    assert load_config(Whole, write("names: ['${SCPO_X}', '$SCPO_X']")).names == ("7", "$SCPO_X")
    assert load_config(Whole, write("names: ['${NO_SUCH:-}']")).names == ("",)
    monkeypatch.delenv("SCPO_X")
    with pytest.raises(ValueError, match="needs the environment variable SCPO_X; set it"):
        load_config(Whole, write("names: ['${SCPO_X}']"))


def test_overrides_win(write):
    file = write("training: {epochs: 2, seed: 1}")
    config = load_config(
        Whole, file, ["training.epochs=0.5", "data.path=a=b", "names=[x, y]", "share=0"]
    )
    assert (config.training.epochs, config.training.seed) == (0.5, 1)
    assert (config.data.path, config.names, config.share) == ("a=b", ("x", "y"), 0.0)
    assert load_config(Whole, file, ["training.seed=2", "training.seed=3"]).training.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", r"An override is key\.sub=value, but got 'training\.epochs'"),
        ("=3", r"An override is key\.sub=value"),
        ("share.a=1", "'share' holds a value, no keys"),
        ("share=[1", "the value is not YAML"),
        ("training.epoch=1", r"did you mean 'training\.epochs'"),
        ("share=nan2", "share: Input should be a valid number"),
    ],
)
def test_bad_overrides_are_refused(write, override, message):
    with pytest.raises(ValueError, match=message):
        load_config(Whole, write("share: 0.5"), [override])


def test_options_of_a_command_line(write):
    values = {"path": None, "source": "pairs"}
    config = parse_options(DataConfig, values, ["path=x", "synthetic.seed=3"])
    assert (config.path, config.synthetic.seed) == ("x", 3)
    assert values == {"path": None, "source": "pairs"}
    with pytest.raises(ValueError, match="options: unknown key 'soruce'"):
        parse_options(DataConfig, {"soruce": "pairs"}, None)


def test_what_is_dumped_loads_back(write):
    config = Whole(
        training=TrainingConfig(learning_rate=1e-6, epochs=0.1, centring=1e-9),
        data=DataConfig(path="ü: #x", default_country=None),
        names=("yes", "1", "null"),
    )
    text = dump_config(config)
    assert load_config(Whole, write(text)) == config
    assert list(yaml.safe_load(text)) == ["training", "data", "names", "share"]
    assert math.isclose(yaml.safe_load(text)["training"]["learning_rate"], 1e-6)


def test_files_that_hold_no_configuration(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No configuration at .*none\.yaml"):
        load_config(Whole, tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="is not readable YAML"):
        load_config(Whole, write("a: [1"))
    for text in ("[1, 2]", "", "word"):
        with pytest.raises(ValueError, match="must hold keys and values, but holds"):
            load_config(Whole, write(text))
    file = tmp_path / "latin.yaml"
    file.write_bytes("name: \xfc".encode("latin-1"))
    with pytest.raises(ValueError, match="is not readable YAML"):
        load_config(Whole, file)
    with pytest.raises(ValueError, match="is not readable YAML"):
        load_config(Whole, write("a: !!python/object/apply:os.getcwd []"))


def test_a_file_that_a_run_keeps_reads_no_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SCPO_PLACE", "somewhere")
    file = tmp_path / "config.yaml"
    file.write_text("path: ${SCPO_PLACE}/pairs\n")
    assert load_config(DataConfig, file).path == "somewhere/pairs"
    assert load_config(DataConfig, file, is_own=True).path == "${SCPO_PLACE}/pairs"
    file.write_text("path: s3://K:SECRETSECRET@bucket\n")
    with pytest.raises(ValueError, match="must carry no credentials"):
        load_config(DataConfig, file, is_own=True)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"validation_share": 0.6, "test_share": 0.5}, r"validation_share \+ test_share < 1"),
        ({"folds": 3, "fold": 3}, "but got fold 3 and folds 3"),
        ({"fold": 2}, "but got fold 2 and no folds"),
    ],
)
def test_a_split_that_cannot_be_dealt_is_refused_before_data_are_read(given, fault):
    with pytest.raises(ValueError, match=fault):
        parse_config(SplitConfig, given, "made up")


def test_a_section_without_keys_is_told_in_words():
    with pytest.raises(ValueError, match=r"lora: Input should be keys and values, such as"):
        parse_config(TrainingConfig, {"lora": 3}, "made up")
