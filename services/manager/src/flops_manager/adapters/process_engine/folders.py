"""Where the process engine keeps what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flops_protocol.identifiers import uuid7


@dataclass(frozen=True)
class EngineFolder:
    """Its own folder: `layers/`, `images/`, `documents/`, `blobs/`, `actors/…`, `logs/…`, `new/`."""

    root: Path
    run: str = field(default_factory=uuid7)
    """This run of the engine, so that what an earlier one left half made is told apart from what is being made."""

    @property
    def layers(self) -> Path:
        """Unpacked layers, by digest."""
        return self.root / "layers"

    @property
    def images(self) -> Path:
        """Image roots: symbolic links into layers, by the manifest's digest."""
        return self.root / "images"

    @property
    def half_made(self) -> Path:
        """What was being made in any run, by run."""
        return self.root / "new"

    @property
    def new(self) -> Path:
        """What is being made in this run, and is renamed to its place when it is whole."""
        return self.half_made / self.run

    @property
    def blobs(self) -> Path:
        """Layers on their way from a registry, until they are unpacked."""
        return self.root / "blobs"

    @property
    def documents(self) -> Path:
        """Indexes, manifests and configurations of images, by digest."""
        return self.root / "documents"

    @property
    def actors(self) -> Path:
        """One folder an actor, by project."""
        return self.root / "actors"

    @property
    def data_book(self) -> Path:
        """What the node's data files said of themselves."""
        return self.root / "data.json"

    @property
    def logs(self) -> Path:
        """The logs of actors that were removed, by project."""
        return self.root / "logs"

    def actor(self, project: str, instance: str) -> ActorFolder:
        """The folder of one actor. Both names are topic segments, so that they cannot lead elsewhere."""
        return ActorFolder(self.actors / project / instance)


@dataclass(frozen=True)
class ActorFolder:
    """What is known of one actor, and what it may write to."""

    root: Path

    @property
    def record(self) -> Path:
        """What was started, written before it is."""
        return self.root / "record.json"

    @property
    def lock(self) -> Path:
        """Held by the actor as long as it lives, whatever happens to the manager."""
        return self.root / "lock"

    @property
    def group(self) -> Path:
        """The ID of its process group, which is that of its session."""
        return self.root / "group"

    @property
    def pid(self) -> Path:
        """The ID of its first process."""
        return self.root / "pid"

    @property
    def exit(self) -> Path:
        """Its exit code, written when it has ended."""
        return self.root / "exit"

    @property
    def log(self) -> Path:
        """What it printed in its present life."""
        return self.root / "log"

    @property
    def earlier_log(self) -> Path:
        """What it printed in the life before."""
        return self.root / "log.1"

    @property
    def state(self) -> Path:
        """Its own folder, which survives its restart."""
        return self.root / "state"
