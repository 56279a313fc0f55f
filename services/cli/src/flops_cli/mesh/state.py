"""The state folder of a mesh: where things lie, who holds it, and what runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flops_protocol.errors import FlopsError
from pydantic import BaseModel, ConfigDict, ValidationError


class ProcessRecord(BaseModel):
    """A process of the mesh. `started` is its start time in clock ticks since boot, so that a reused ID is noticed."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int | None = None


class MeshFile(BaseModel):
    """`mesh.json`: where the mesh listens, and its processes."""

    model_config = ConfigDict(frozen=True)

    broker: str
    broker_kind: str
    mlflow: str | None = None
    registry: str | None = None
    pid: int
    """The process of `flops up`."""
    processes: dict[str, ProcessRecord] = {}


class StateFolder:
    """Paths under one folder, as docs/architecture.md lists them."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def manager(self) -> Path:
        """The manager's SQLite."""
        return self.root / "manager"

    @property
    def observer(self) -> Path:
        """The observer's SQLite."""
        return self.root / "observer"

    @property
    def registry(self) -> Path:
        """The OCI layout."""
        return self.root / "registry"

    @property
    def engine(self) -> Path:
        """Unpacked layers, and what the actors keep."""
        return self.root / "engine"

    @property
    def cache(self) -> Path:
        """The builder's cache."""
        return self.root / "cache"

    @property
    def data(self) -> Path:
        """The node's data, a folder a tag."""
        return self.root / "data"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    @property
    def logs(self) -> Path:
        """A log a service."""
        return self.root / "logs"

    @property
    def broker(self) -> Path:
        """The broker's configuration."""
        return self.root / "broker"

    def make(self) -> None:
        """Makes the folder, for its owner only: it holds data and models."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (self.logs, self.data, self.mlflow, self.broker):
            path.mkdir(exist_ok=True)

    def mesh(self) -> MeshFile | None:
        """What the last `flops up` wrote, whether it still runs or not."""
        with suppress(OSError, ValidationError):
            return MeshFile.model_validate_json((self.root / "mesh.json").read_bytes())
        return None

    def write_mesh(self, mesh: MeshFile) -> None:
        """Writes `mesh.json` in one go, so that no reader sees half of it."""
        draft = self.root / f".mesh.json.{os.getpid()}"
        draft.write_text(mesh.model_dump_json(indent=2))
        draft.replace(self.root / "mesh.json")

    @property
    def held(self) -> bool:
        """Whether a `flops up` runs on this folder."""
        try:
            with self.hold():
                return False
        except FlopsError:
            return True
        except OSError:
            return False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the folder for this process; the lock goes with the process, however it ends.

        :raises FlopsError: FLOPS-P013 when another process holds it
        """
        with (self.root / "up.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mesh = self.mesh()
                who = "" if mesh is None else f": process {mesh.pid}, broker {mesh.broker}"
                raise FlopsError("FLOPS-P013", f"{self.root} is in use{who}") from None
            yield
