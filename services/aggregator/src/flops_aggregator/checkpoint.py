"""Checkpoints: what a killed aggregator needs to go on at its last finished round.

One zip file without compression, which `numpy.load` reads: `meta.json`, `parameters/*.npy`, `strategy/*.npy`; beside it
the parameters of the best round. A file is written whole under another name and then takes its place, so a process
that is killed at any moment leaves the last checkpoint or the new one, never half of one.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from flops_federation.npy import read_npy, write_npy
from flops_federation.parcels import ArrayData
from flops_protocol.messages.actors import RoundReport
from flops_protocol.messages.project import ProjectSpec, RoundMetrics
from pydantic import BaseModel

from flops_aggregator.parameters import Parameters, to_arrays

log = structlog.get_logger()


class _Meta(BaseModel):
    """What stands in `meta.json`."""

    fingerprint: str
    round: int
    last: RoundMetrics | None
    best: RoundMetrics | None
    seconds: float
    recent: list[RoundReport]


@dataclass(frozen=True)
class Checkpoint:
    """The training after a finished round; round 0 is before the first."""

    round: int
    parameters: Parameters
    last: RoundMetrics | None = None
    best: RoundMetrics | None = None
    best_parameters: Parameters | None = None
    strategy: Mapping[str, npt.NDArray[Any]] | None = None
    """What the strategy remembers."""
    seconds: float = 0.0
    """What the rounds so far took."""
    recent: tuple[RoundReport, ...] = ()
    """The rounds since the checkpoint before: a process that is killed now may not have told them."""


def fingerprint(spec: ProjectSpec, lock_digest: str) -> str:
    """What a checkpoint belongs to: the code, its environment, and how it is trained."""
    training = spec.sla.training_configuration.model_dump_json()
    strategy = spec.sla.strategy.model_dump_json()
    text = f"{spec.project}\n{spec.repository_url}\n{spec.commit}\n{lock_digest}\n{training}\n{strategy}"
    return hashlib.sha256(text.encode()).hexdigest()


class CheckpointFolder:
    """The checkpoints of one training. Blocks for the disk: call it in a thread."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._path = folder / "checkpoint.npz"

    def save(self, checkpoint: Checkpoint) -> None:
        """On disk when it returns.

        :raises OSError: when the disk does not take it; the checkpoint before it is still there
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        best = checkpoint.best
        if best is not None and checkpoint.best_parameters is not None and not self._best_path(best).exists():
            # Under the name of its round: until the checkpoint names it, the one before it is still in force.
            _write(self._best_path(best), _named("parameters", checkpoint.best_parameters))
        meta = _Meta(
            fingerprint=self._fingerprint,
            round=checkpoint.round,
            last=checkpoint.last,
            best=best,
            seconds=checkpoint.seconds,
            recent=list(checkpoint.recent),
        )
        strategy = checkpoint.strategy or {}
        _write(
            self._path,
            {"meta.json": meta.model_dump_json().encode()}
            | _named("parameters", checkpoint.parameters)
            | {f"strategy/{name}.npy": bytes(write_npy(array).data) for name, array in strategy.items()},
        )
        for old in self._folder.glob("best-*.npz"):
            if best is not None and old != self._best_path(best):
                old.unlink(missing_ok=True)

    def load(self) -> Checkpoint | None:
        """The last one; None when there is none, or it is another training's, or the disk lost it."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                meta = _Meta.model_validate_json(archive.read("meta.json"))
                if meta.fingerprint != self._fingerprint:
                    return None
                parameters = _parameters(archive)
                strategy = {
                    name.removeprefix("strategy/").removesuffix(".npy"): np.array(read_npy(archive.read(name)))
                    for name in archive.namelist()
                    if name.startswith("strategy/")
                }
            best_parameters = None
            if meta.best is not None:
                with zipfile.ZipFile(self._best_path(meta.best)) as archive:
                    best_parameters = _parameters(archive)
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, ValueError, KeyError) as error:
            log.warning("the checkpoint cannot be read; the training begins anew", reason=str(error))
            return None
        return Checkpoint(
            meta.round,
            parameters,
            meta.last,
            meta.best,
            best_parameters,
            strategy,
            meta.seconds,
            tuple(meta.recent),
        )

    def _best_path(self, best: RoundMetrics) -> Path:
        return self._folder / f"best-{best.round}.npz"


def _named(folder: str, parameters: Parameters) -> dict[str, Any]:
    return {f"{folder}/{index:06}.npy": data.data for index, data in enumerate(parameters)}


def _parameters(archive: zipfile.ZipFile) -> Parameters:
    names = sorted(name for name in archive.namelist() if name.startswith("parameters/"))
    data = tuple(ArrayData("", (), archive.read(name)) for name in names)
    return tuple(
        ArrayData(str(array.dtype), array.shape, item.data) for array, item in zip(to_arrays(data), data, strict=True)
    )


def _write(path: Path, members: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
