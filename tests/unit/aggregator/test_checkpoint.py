"""Checkpoints come back whole, whatever moment the process was killed at."""

import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from flops_aggregator import checkpoint as module
from flops_aggregator.checkpoint import Checkpoint, CheckpointFolder, fingerprint
from flops_aggregator.parameters import from_arrays, to_arrays
from flops_protocol.messages.actors import RoundReport
from flops_protocol.messages.project import ProjectSpec, RoundMetrics
from flops_protocol.sla import Sla


def state(number, best=None):
    weights = [np.full((2, 3), number, dtype=np.float32), np.array(number, dtype=np.int64)]
    metrics = RoundMetrics(round=number, loss=1 / number, accuracy=0.5)
    best = best or number
    return Checkpoint(
        number,
        from_arrays(weights),
        metrics,
        RoundMetrics(round=best, loss=0.1, accuracy=0.9),
        from_arrays([np.full((2, 3), best, dtype=np.float32), np.array(best, dtype=np.int64)]),
        {"m_t.0": np.full((2, 3), -number), "m_t.10": np.zeros(0)},
        seconds=number * 1.5,
        recent=(
            RoundReport(
                project="p", round=number, rounds=9, metrics=metrics, trained=["a"], evaluated=["a"], samples=1,
                best=True, seconds=0.5,
            ),
        ),
    )  # fmt: skip


def same(one, other):
    assert (one.round, one.last, one.best) == (other.round, other.last, other.best)
    assert (one.seconds, one.recent) == (other.seconds, other.recent)
    for mine, theirs in [(one.parameters, other.parameters), (one.best_parameters, other.best_parameters)]:
        assert [array.dtype for array in to_arrays(mine)] == [array.dtype for array in to_arrays(theirs)]
        assert all(np.array_equal(a, b) for a, b in zip(to_arrays(mine), to_arrays(theirs), strict=True))
    assert one.strategy.keys() == other.strategy.keys()
    assert all(np.array_equal(one.strategy[key], other.strategy[key]) for key in one.strategy)


def test_a_checkpoint_comes_back(tmp_path):
    folder = CheckpointFolder(tmp_path, "f")
    folder.save(state(3))
    same(folder.load(), state(3))


def test_the_best_parameters_stay_those_of_their_round(tmp_path):
    folder = CheckpointFolder(tmp_path, "f")
    folder.save(state(1))
    folder.save(state(2, best=1))
    folder.save(state(3, best=1))
    same(folder.load(), state(3, best=1))
    folder.save(state(4))
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-4.npz"]


def test_it_is_an_archive_that_numpy_reads_without_a_pickle(tmp_path):
    CheckpointFolder(tmp_path, "f").save(state(3))
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["parameters/000000"], np.full((2, 3), 3, dtype=np.float32))


def test_there_is_none(tmp_path):
    assert CheckpointFolder(tmp_path / "new", "f").load() is None


def test_another_trainings_is_none(tmp_path):
    CheckpointFolder(tmp_path, "f").save(state(3))
    assert CheckpointFolder(tmp_path, "g").load() is None


@pytest.mark.parametrize("killed_at", range(4))
def test_killed_while_saving_leaves_the_one_before_or_the_new_one(tmp_path, monkeypatch, killed_at):
    folder = CheckpointFolder(tmp_path, "f")
    folder.save(state(1))
    steps = iter(range(10))

    class KilledError(Exception):
        pass

    real_fsync, real_replace = module.os.fsync, module.Path.replace

    def step():
        if next(steps) == killed_at:
            raise KilledError

    def fsync(descriptor):
        step()
        real_fsync(descriptor)

    def replace(path, target):
        step()
        return real_replace(path, target)

    monkeypatch.setattr(module.os, "fsync", fsync)
    monkeypatch.setattr(module.Path, "replace", replace)
    with pytest.raises(KilledError):
        folder.save(state(2))
    monkeypatch.undo()
    same(CheckpointFolder(tmp_path, "f").load(), state(1))
    folder.save(state(2))
    same(folder.load(), state(2))


def test_a_file_that_the_disk_lost_is_none(tmp_path):
    folder = CheckpointFolder(tmp_path, "f")
    folder.save(state(1))
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-40])
    assert folder.load() is None
    folder.save(state(2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("parameters/000099.npy", b"no array")
    assert folder.load() is None


def test_another_strategy_is_another_training():
    def spec(**changes):
        return ProjectSpec(
            project="p",
            sla=Sla.model_validate({"ml_repo_url": "u", "ml_model_flavor": "sklearn", **changes}),
            repository_url="u",
            commit="1" * 40,
            submitted_at=datetime.now(UTC),
        )

    assert fingerprint(spec(), "l") == fingerprint(spec(verbose=True), "l")
    assert fingerprint(spec(), "l") != fingerprint(spec(strategy={"name": "Krum"}), "l")
    assert fingerprint(spec(), "l") != fingerprint(spec(), "m")
