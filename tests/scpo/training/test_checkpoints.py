import json
import random
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from scpo.config import TrainingConfig
from scpo.countries.scoring import score_texts
from scpo.files.buckets import MANIFEST, RemoteFolder
from scpo.models.loading import load_reward_model
from scpo.training import checkpoint_storage, fit
from scpo.training.checkpoint_storage import DAMAGED, refuse_other_folder
from scpo.training.checkpoints import (
    Checkpoints,
    TrainingStopped,
    find_damage,
    resume_training,
    save_checkpoint,
)
from scpo.training.engines import Optimization, TorchEngine
from scpo.training.fit import fit_on_device

CONFIG = TrainingConfig(
    learning_rate=1e-3, precision="fp32", pairs_per_step=4, epochs=3.0, checkpoint_every=3
)


class Killed(Exception):
    """The process died here."""


@pytest.fixture
def fresh(model_folder):
    return lambda: load_reward_model(str(model_folder("bert")))


@pytest.fixture
def data(training_set):
    return training_set(num_interactions=12)


def kill_at(step):
    def report(progress):
        if progress.step == step:
            raise Killed

    return report


def weights_equal(one, other):
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def interrupt(fresh, data, folder, step=8, config=CONFIG):
    with pytest.raises(Killed):
        fit_on_device(fresh(), data, config, checkpoints=folder, report=kill_at(step))
    return sorted(path.name for path in folder.iterdir())


def test_a_training_that_was_killed_goes_on_to_the_bit(fresh, data, tmp_path):
    whole, resumed = fresh(), fresh()
    uninterrupted = fit_on_device(whole, data, CONFIG)
    assert interrupt(fresh, data, tmp_path) == ["step-00000003", "step-00000006"]
    random.seed(99)  # what came between must not matter
    np.random.seed(99)
    torch.manual_seed(99)
    result = fit_on_device(resumed, data, CONFIG, checkpoints=tmp_path)
    assert result.resumed_from == 6
    assert result.losses == uninterrupted.losses
    assert result.pairs_seen == uninterrupted.pairs_seen
    assert weights_equal(whole, resumed)


def test_the_reference_is_proven_before_the_first_step_only(fresh, data, tmp_path):
    rewards = score_texts(fresh(), data.texts, np.arange(len(data.texts)), precision="fp32")
    data = replace(data, reference=rewards)
    interrupt(fresh, data, tmp_path)
    result = fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    assert (result.resumed_from, result.warm_start) == (6, None)


def test_only_the_newest_two_are_kept(fresh, data, tmp_path):
    assert interrupt(fresh, data, tmp_path, step=13) == ["step-00000009", "step-00000012"]


def damage_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_manifest_value(path):
    manifest = json.loads(path.read_text())
    manifest["losses"][0] += 1.0
    path.write_text(json.dumps(manifest))


DAMAGES = {
    "flipped byte": (lambda f: damage_byte(f / "engine.pt"), "engine.pt has other bytes"),
    "cut short": (lambda f: (f / "engine.pt").write_bytes(b"PK"), "engine.pt has 2 bytes"),
    "missing file": (lambda f: (f / "engine.pt").unlink(), "engine.pt is missing"),
    "flipped byte of random states": (
        lambda f: damage_byte(f / "random-rank-00000.pt"),
        "random-rank-00000.pt has other bytes",
    ),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "it has no manifest"),
    "empty manifest": (lambda f: (f / MANIFEST).write_text(""), "its manifest is damaged"),
    "manifest of nothing": (lambda f: (f / MANIFEST).write_text("[]"), "its manifest is damaged"),
    "changed manifest": (lambda f: damage_manifest_value(f / MANIFEST), "its manifest is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_moved_aside_and_the_older_one_taken(fresh, data, tmp_path, name):
    damage, reason = DAMAGES[name]
    interrupt(fresh, data, tmp_path)
    damage(tmp_path / "step-00000006")
    assert reason in find_damage(tmp_path / "step-00000006")
    resumed, whole = fresh(), fresh()
    result = fit_on_device(resumed, data, CONFIG, checkpoints=tmp_path)
    assert result.resumed_from == 3
    assert reason in result.moved_aside[0]
    assert reason in (tmp_path / DAMAGED / "step-00000006" / "reason.txt").read_text()
    fit_on_device(whole, data, CONFIG)
    assert weights_equal(whole, resumed)


def test_when_all_are_damaged_the_training_starts_again_and_says_so(fresh, data, tmp_path):
    interrupt(fresh, data, tmp_path)
    for step in (3, 6):
        damage_byte(tmp_path / f"step-{step:08d}" / "engine.pt")
    result = fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    assert result.resumed_from == 0
    assert len(result.moved_aside) == 2


def test_a_half_written_checkpoint_is_never_taken(fresh, data, tmp_path, monkeypatch):
    def die(engine, folder):
        (folder / "engine.pt").write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(TorchEngine, "save_state", die)
    with pytest.raises(Killed):
        fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".step-00000003.partial"]
    monkeypatch.undo()
    result = fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    assert result.resumed_from == 0
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_training_is_refused(fresh, data, tmp_path):
    interrupt(fresh, data, tmp_path)
    other = CONFIG.model_copy(update={"learning_rate": 1e-4})
    with pytest.raises(TrainingStopped, match=r"of another training \(training.learning_rate: "
                       r"0.001 there, 0.0001 here\)"):  # fmt: skip
        fit_on_device(fresh(), data, other, checkpoints=tmp_path)
    half = replace(data, weights=0.5 * data.weights)
    with pytest.raises(TrainingStopped, match=r"of another training \(data: \w+ there"):
        fit_on_device(fresh(), half, CONFIG, checkpoints=tmp_path)
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_how_often_to_save_may_change(fresh, data, tmp_path):
    interrupt(fresh, data, tmp_path)
    other = CONFIG.model_copy(update={"checkpoint_every": 5})
    assert fit_on_device(fresh(), data, other, checkpoints=tmp_path).resumed_from == 6


def test_another_engine_or_number_of_ranks_is_refused(fresh, tmp_path):
    engine = TorchEngine(fresh(), Optimization(1e-3, 4))
    save_checkpoint(engine, Checkpoints(tmp_path, 1), step=1, losses=[0.5])
    engine.kind = "zero2"
    with pytest.raises(TrainingStopped, match=r"written by 1 ranks of torch.*has 1 of zero2"):
        resume_training(engine, Checkpoints(tmp_path, 1))


def test_the_number_of_ranks_must_be_the_same(fresh, tmp_path):
    engine = TorchEngine(fresh(), Optimization(1e-3, 4))
    save_checkpoint(engine, Checkpoints(tmp_path, 1), step=1, losses=[0.5])
    engine.world_size = 2
    with pytest.raises(TrainingStopped, match=r"written by 1 ranks of torch.*has 2 of torch"):
        resume_training(engine, Checkpoints(tmp_path, 1))


def test_what_only_the_checkpoint_names_differs_too(fresh, tmp_path):
    engine = TorchEngine(fresh(), Optimization(1e-3, 4))
    save_checkpoint(engine, Checkpoints(tmp_path, 1, {"a": 1, "b": 2}), step=1, losses=[0.5])
    with pytest.raises(TrainingStopped, match=r"another training \(b: 2 there, None here\)"):
        resume_training(engine, Checkpoints(tmp_path, 1, {"a": 1}))


def test_another_model_is_refused(data, model_writer, fresh, tmp_path):
    """Without reference rewards nothing else would tell."""
    interrupt(fresh, data, tmp_path / "checkpoints")
    other = load_reward_model(str(model_writer(tmp_path / "other", "bert", seed=9)))
    with pytest.raises(TrainingStopped, match=r"of another training \(head: \w{16} there"):
        fit_on_device(other, data, CONFIG, checkpoints=tmp_path / "checkpoints")


def test_another_device_may_resolve_another_precision(fresh, data, tmp_path, monkeypatch):
    auto = CONFIG.model_copy(update={"precision": "auto"})
    monkeypatch.setattr(fit, "resolve_precision", lambda *given: "fp32")
    interrupt(fresh, data, tmp_path, config=auto)
    monkeypatch.setattr(fit, "resolve_precision", lambda *given: "bf16")
    with pytest.raises(TrainingStopped, match=r"\(precision: fp32 there, bf16 here\)"):
        fit_on_device(fresh(), data, auto, checkpoints=tmp_path)


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_random_numbers_go_on_where_they_were(fresh, tmp_path):
    engine = TorchEngine(fresh(), Optimization(1e-3, 4))
    save_checkpoint(engine, Checkpoints(tmp_path, 1), step=1, losses=[0.5])
    expected = draw()
    between = draw()
    resume_training(engine, Checkpoints(tmp_path, 1))
    found = draw()
    assert found == expected
    assert all(one != other for one, other in zip(found, between, strict=True))


class ThreadRank(TorchEngine):
    """One of two ranks, a thread each, with a file of state of its own."""

    world_size = 2

    def __init__(self, reward, rank, barrier, board):
        super().__init__(reward, Optimization(1e-3, 4))
        self.rank, self.barrier, self.board = rank, barrier, board

    def gather(self, value):
        self.board[self.rank] = value
        self.barrier.wait(timeout=60)
        values = list(self.board)
        self.barrier.wait(timeout=60)
        return values

    def save_state(self, folder):
        (folder / f"state-{self.rank}").write_bytes(bytes([self.rank] * 9))

    def load_state(self, folder):
        assert (folder / f"state-{self.rank}").read_bytes() == bytes([self.rank] * 9)


@pytest.fixture
def on_two_ranks(fresh):
    """Run a function of an engine on two ranks at once; what each returned."""

    def run(function):
        barrier, board, results = threading.Barrier(2), [None, None], [None, None]
        engines = [ThreadRank(fresh(), rank, barrier, board) for rank in range(2)]

        def work(engine):
            try:
                results[engine.rank] = function(engine)
            except TrainingStopped as error:
                results[engine.rank] = str(error)

        threads = [threading.Thread(target=work, args=(engine,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return run


@pytest.mark.parametrize("name", ["state-0", "state-1", "random-rank-00001.pt", MANIFEST])
def test_ranks_find_each_others_damage_together(on_two_ranks, tmp_path, name):
    checkpoints = Checkpoints(tmp_path, 1)
    for step in (1, 2):
        on_two_ranks(
            lambda engine, step=step: save_checkpoint(
                engine, checkpoints, step=step, losses=[0.5] * step
            )
        )
    manifest = json.loads((tmp_path / "step-00000002" / MANIFEST).read_text())
    assert sorted(manifest["files"]) == [
        "random-rank-00000.pt", "random-rank-00001.pt", "state-0", "state-1",
    ]  # fmt: skip
    damage_byte(tmp_path / "step-00000002" / name)
    first, second = on_two_ranks(lambda engine: resume_training(engine, checkpoints))
    assert first == second
    assert (first.step, len(first.moved_aside)) == (1, 1)
    assert (tmp_path / DAMAGED / "step-00000002" / name).is_file()


def test_a_checkpoint_in_a_bucket_is_gone_on_from_to_the_bit(fresh, data, bucket, tmp_path):
    place, whole, resumed = f"{bucket}/checkpoints", fresh(), fresh()
    uninterrupted = fit_on_device(whole, data, CONFIG)
    with pytest.raises(Killed):
        fit_on_device(fresh(), data, CONFIG, checkpoints=place, report=kill_at(13))
    kept = {name.partition("/")[0] for name in RemoteFolder(place).names()}
    assert kept == {"step-00000009", "step-00000012"}
    result = fit_on_device(resumed, data, CONFIG, out=f"{bucket}/model", checkpoints=place)
    assert (result.resumed_from, result.losses) == (12, uninterrupted.losses)
    assert weights_equal(whole, resumed)
    assert weights_equal(whole, load_reward_model(f"{bucket}/model"))
    assert RemoteFolder(place).names() == []
    assert list((tmp_path / "home" / "fetched").glob("*/engine.pt")) == []


@pytest.mark.parametrize("name", ["state-0", "state-1", "random-rank-00001.pt", MANIFEST])
def test_ranks_without_a_shared_disk_find_damage_in_a_bucket(on_two_ranks, bucket, name):
    checkpoints = Checkpoints(f"{bucket}/checkpoints", 1)
    for step in (1, 2):
        on_two_ranks(
            lambda engine, step=step: save_checkpoint(
                engine, checkpoints, step=step, losses=[0.5] * step
            )
        )
    RemoteFolder(f"{bucket}/checkpoints/step-00000002").write(name, b"{}")
    first, second = on_two_ranks(lambda engine: resume_training(engine, checkpoints))
    assert first == second
    assert (first.step, len(first.moved_aside)) == (1, 1)
    assert "step-00000002" in first.moved_aside[0]
    found = RemoteFolder(f"{bucket}/checkpoints").names()
    assert f"{DAMAGED}/step-00000002-reason.txt" in found
    assert f"step-00000002/{MANIFEST}" not in found


def test_what_was_not_wholly_put_in_a_bucket_is_never_taken(fresh, data, bucket, monkeypatch):
    place = f"{bucket}/checkpoints"

    def die(steps, name, folder, manifest):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("scpo.training.checkpoint_storage._RemoteSteps.finish", die)
        with pytest.raises(Killed):
            fit_on_device(fresh(), data, CONFIG, checkpoints=place)
    assert "step-00000003/engine.pt" in RemoteFolder(place).names()
    assert fit_on_device(fresh(), data, CONFIG, checkpoints=place).resumed_from == 0


def test_a_notice_is_saved_at_once(fresh, data, tmp_path):
    """A node is about to go: the steps since the last checkpoint are kept too."""
    answers = iter([False, True] + [False] * 100)

    def train(report):
        make_engine, folder = TorchEngine, tmp_path / "steps"
        fit.fit_with(
            *(make_engine, fresh(), data, CONFIG.model_copy(update={"checkpoint_every": 50})),
            checkpoints=folder,
            save_now=lambda: next(answers),
            report=report,
        )

    with pytest.raises(Killed):
        train(kill_at(5))
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["step-00000002"]


def test_a_kill_while_a_checkpoint_is_removed_leaves_one_that_goes_on(
    fresh, data, tmp_path, monkeypatch
):
    """What is half removed is nobody's else, and goes with the next checkpoint."""

    def die_in_the_middle(folder):
        (folder / MANIFEST).unlink()
        raise Killed

    monkeypatch.setattr(checkpoint_storage.shutil, "rmtree", die_in_the_middle)
    with pytest.raises(Killed):
        fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    monkeypatch.undo()
    refuse_other_folder(tmp_path)
    assert fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path).resumed_from == 9
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_named(fresh, data, tmp_path, monkeypatch):
    def fill(self, folder):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(TorchEngine, "save_state", fill)
    with pytest.raises(OSError, match=f"not be written whole to {tmp_path}. Is the disk full"):
        fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)


def test_checkpoints_must_be_some_steps_apart(tmp_path):
    with pytest.raises(ValueError, match="`every >= 1` must hold, but got 0"):
        Checkpoints(tmp_path, 0)


def test_a_loss_that_is_not_finite_leaves_the_checkpoints(fresh, data, tmp_path, monkeypatch):
    rewards = TorchEngine.rewards
    calls = []

    def poisoned(engine, batch):
        calls.append(0)
        return rewards(engine, batch) * (float("nan") if len(calls) > 10 else 1.0)

    monkeypatch.setattr(TorchEngine, "rewards", poisoned)
    with pytest.raises(TrainingStopped, match="loss is nan"):
        fit_on_device(fresh(), data, CONFIG, checkpoints=tmp_path)
    kept = list(tmp_path.glob("step-*"))
    assert kept
    assert [find_damage(folder) for folder in kept] == [None] * len(kept)


def test_checkpoints_go_when_the_model_is_written(fresh, data, tmp_path):
    folder, out = tmp_path / "checkpoints", tmp_path / "out"
    interrupt(fresh, data, folder)
    fit_on_device(fresh(), data, CONFIG, out=out, checkpoints=folder)
    assert (out / "model.safetensors").is_file()
    assert not folder.exists()
    shutil.rmtree(out)
