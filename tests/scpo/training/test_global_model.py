"""The pool of a global model never holds a steered country; its training is judged on users."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from scpo.config import GlobalModelConfig, SyntheticConfig, TrainingConfig
from scpo.data.pairs import build_pairs
from scpo.data.reading.countries import canonical_country
from scpo.data.sources.synthetic import make_synthetic
from scpo.models.loading import load_reward_model
from scpo.models.reward_model import LoadedModel
from scpo.tokens.batches import TrainingSet
from scpo.training.fit import fit_on_device
from scpo.training.global_model import pool_interactions, train_global_model
from scpo.training.loop import TrainingResult


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return make_synthetic(
        SyntheticConfig(num_countries=3, users_per_country=8, interactions_per_user=2)
    ).interactions


def pool(table: pa.Table, tmp_path: Path, *exclude: str, **model: object) -> pa.Table:
    config = GlobalModelConfig.model_validate({"backbone": "x", **model})
    return pool_interactions(
        table, config, exclude=exclude, quarantine=tmp_path / "bad.jsonl", seed=0
    )


def test_steered_countries_are_left_out(table: pa.Table, tmp_path: Path) -> None:
    pooled = pool(table, tmp_path, "Arvandia")
    assert set(pooled["country"].to_pylist()) == {"Belmora", "Cestria"}


def test_misspelt_country_is_refused(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No interactions of Arvania; there are some of"):
        pool(table, tmp_path, "Arvania")


def test_nothing_left_is_refused(table: pa.Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="countries that are not steered to, but there are none"):
        pool(table, tmp_path, "Arvandia", "Belmora", "Cestria")


def test_largest_number_of_pairs_holds_and_is_seeded(table: pa.Table, tmp_path: Path) -> None:
    pooled = pool(table, tmp_path, max_pairs=50)
    assert 40 < len(build_pairs(pooled)) <= 50
    assert pooled.equals(pool(table, tmp_path, max_pairs=50))


def test_further_pairs_file_is_added_and_its_bad_rows_kept(
    table: pa.Table, tmp_path: Path
) -> None:
    file = tmp_path / "extra.jsonl"
    good = {"prompt": "Which?", "chosen": "this one", "rejected": "that one"}
    bad = {**good, "rejected": "this one"}
    file.write_text("".join(json.dumps(row) + "\n" for row in (good, bad)))
    pooled = pool(table, tmp_path, "Arvandia", extra_pairs=str(file))
    assert pooled.filter(pa.compute.equal(pooled["country"], "extra")).num_rows == 1
    assert "chosen_equals_rejected" in (tmp_path / "bad.jsonl").read_text()


def test_a_pairs_file_of_bad_rows_only_is_refused(table: pa.Table, tmp_path: Path) -> None:
    file = tmp_path / "extra.jsonl"
    file.write_text('{"prompt": "Which?", "chosen": "this", "rejected": "this"}\n')
    with pytest.raises(ValueError, match=r"extra\.jsonl has none: 1 row .*bad\.jsonl"):
        pool(table, tmp_path, "Arvandia", extra_pairs=str(file))
    assert "chosen_equals_rejected" in (tmp_path / "bad.jsonl").read_text()


def write_extra(tmp_path: Path, *countries: str | None) -> str:
    rows = [
        {"prompt": f"Which {name}?", "chosen": "this", "rejected": "that", "country": name}
        for name in countries
    ]
    (tmp_path / "extra.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "extra.jsonl")


@pytest.mark.parametrize(
    ("exclude", "only", "left"),
    [
        (("Arvandia",), None, {"Belmora", "Cestria", "Chile", "Chile (City)", "extra"}),
        (("Chile",), None, {"Arvandia", "Belmora", "Cestria", "extra"}),
        (("CL", "Belmora"), None, {"Arvandia", "Cestria", "extra"}),
        (("Chile (City)",), ("Belmora", "CHILE"), {"Belmora", "extra"}),
        ((), ("Chile",), {"Chile", "extra"}),
    ],
)
def test_what_is_left_out_is_left_out_of_all_sources(
    table: pa.Table,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    exclude: tuple[str, ...],
    only: tuple[str, ...] | None,
    left: set[str],
) -> None:
    names = ("Chile", "CL", "Chile (City)", "Arvandia", None)
    config = GlobalModelConfig(backbone="x", extra_pairs=write_extra(tmp_path, *names))
    pooled = pool_interactions(
        table, config, exclude=exclude, only=only, quarantine=tmp_path / "q", seed=0
    )
    assert set(pooled["country"].to_pylist()) == left
    num_left = sum(canonical_country(name or "extra") in left for name in names)
    assert (
        f"extra.jsonl: {5 - num_left} of 5 interactions are of countries left out" in caplog.text
    )


@pytest.mark.parametrize(
    "named", [{"exclude": ("Chilee",)}, {"exclude": (), "only": ("Belmoro",)}]
)
def test_misspelt_country_of_any_list_is_refused(
    table: pa.Table, tmp_path: Path, named: dict[str, tuple[str, ...]]
) -> None:
    config = GlobalModelConfig(backbone="x", extra_pairs=write_extra(tmp_path, "Chile"))
    with pytest.raises(
        ValueError, match=r"No interactions of \w+; .* Did you mean (Chile|Belmora)\?"
    ):
        pool_interactions(table, config, quarantine=tmp_path / "q", seed=0, **named)


def test_training_writes_a_model_and_judges_it_on_users_held_out(
    table: pa.Table, tmp_path: Path, tiny_backbone: Path
) -> None:
    config = GlobalModelConfig(backbone=str(tiny_backbone), learning_rate=1e-3)
    training = TrainingConfig(pairs_per_step=16)
    out = tmp_path / "global"
    result = train_global_model(table, config, training, out=out, max_tokens=96)
    load_reward_model(str(out))
    num_pairs = len(build_pairs(table))
    assert result.pairs + result.held_out.pairs == num_pairs
    assert result.held_out.interval.users == max(1, round(0.05 * 24))
    assert result.length.pairs == result.held_out.pairs
    assert f"{result.pairs} pairs" in result.in_words()


def test_pairs_of_equal_tokens_are_not_trained_on(
    interactions: Callable[..., pa.Table], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    table = interactions(users={"A": 20})
    # the tiny vocabulary knows neither of the first two: [UNK] against [UNK]
    same = pa.array([["zzz", "yyy", "good"]] * table.num_rows, pa.list_(pa.string()))
    table = table.set_column(table.schema.get_field_index("responses"), "responses", same)
    config = GlobalModelConfig(backbone=str(model_folder("bert")), epochs=0.1)
    result = train_global_model(
        table, config, TrainingConfig(), out=tmp_path / "out", max_tokens=32
    )
    assert result.held_out.interval.users == 1
    assert result.pairs == 19 * 3 * 2  # of three pairs one teaches nothing
    assert re.search(r" [\d.]+ % of \d+ held-out", result.in_words())  # one user: no interval


def test_a_new_head_has_no_rewards_to_go_on_from(
    table: pa.Table, tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def spy(
        reward: LoadedModel, data: TrainingSet, training: TrainingConfig, *, out: Path
    ) -> TrainingResult:
        given.append(data)
        return fit_on_device(reward, data, training, out=out)

    monkeypatch.setattr("scpo.training.global_model.fit_on_device", spy)
    config = GlobalModelConfig(backbone=str(tiny_backbone), epochs=0.05)
    train_global_model(
        table, config, TrainingConfig(), out=tmp_path / "out", max_tokens=96, overlong="drop"
    )
    assert given[0].reference is None
    assert given[0].country == "pooled"


def test_pairs_with_an_overlong_text_can_be_left_out(
    table: pa.Table, tmp_path: Path, tiny_backbone: Path
) -> None:
    config = GlobalModelConfig(backbone=str(tiny_backbone), epochs=0.05)
    num_pairs = [
        train_global_model(
            table,
            config,
            TrainingConfig(),
            out=tmp_path / overlong,
            max_tokens=75,
            overlong=overlong,
        ).pairs
        for overlong in ("truncate_prompt", "drop")
    ]
    assert 0 < num_pairs[1] < num_pairs[0]


def test_one_user_cannot_both_train_and_test(
    interactions: Callable[..., pa.Table], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    config = GlobalModelConfig(backbone=str(model_folder("bert")))
    with pytest.raises(ValueError, match="pooled: the train users gave no pair"):
        train_global_model(
            interactions(users={"A": 1}),
            config,
            TrainingConfig(),
            out=tmp_path / "out",
            max_tokens=32,
        )
    assert not (tmp_path / "out").exists()
