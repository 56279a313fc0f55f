"""The journal between the aggregator and the tracker: JSON lines that are only ever appended to.

Standard library only: the tracker reads it with nothing but mlflow on its path.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class RunEntry:
    """The one MLflow run of the project. `project` is its name, and how it is found again."""

    project: str
    experiment: str
    tags: dict[str, str]
    params: dict[str, str]
    at: int = field(default_factory=lambda: _now())
    kind: Literal["run"] = "run"

    @property
    def key(self) -> str:
        """What makes a second entry of the same a duplicate."""
        return self.kind


@dataclass(frozen=True)
class RoundEntry:
    """The metrics of one round; MLflow's step is the round."""

    round: int
    metrics: dict[str, float]
    at: int = field(default_factory=lambda: _now())
    kind: Literal["round"] = "round"

    @property
    def key(self) -> str:
        """What makes a second entry of the same a duplicate."""
        return f"{self.kind}:{self.round}"


@dataclass(frozen=True)
class ModelEntry:
    """The best model, saved below the journal's folder, with the metrics of *its* round."""

    folder: str
    flavor: str
    round: int
    metrics: dict[str, float]
    tags: dict[str, str]
    at: int = field(default_factory=lambda: _now())
    kind: Literal["model"] = "model"

    @property
    def key(self) -> str:
        """What makes a second entry of the same a duplicate."""
        return self.kind


@dataclass(frozen=True)
class EndEntry:
    """Nothing follows."""

    status: Literal["FINISHED", "FAILED", "KILLED"]
    at: int = field(default_factory=lambda: _now())
    kind: Literal["end"] = "end"

    @property
    def key(self) -> str:
        """What makes a second entry of the same a duplicate."""
        return self.kind


Entry = RunEntry | RoundEntry | ModelEntry | EndEntry
_KINDS: dict[str, type[Entry]] = {"run": RunEntry, "round": RoundEntry, "model": ModelEntry, "end": EndEntry}


@dataclass(frozen=True)
class Progress:
    """How far the tracker has come. `done` counts entries; `error` is why it does not go on right now."""

    done: int = 0
    finished: bool = False
    experiment_id: str | None = None
    run_id: str | None = None
    model_uri: str | None = None
    error: str | None = None


class Journal:
    """The journal in a folder. One process appends, one reads; both survive being killed at any moment."""

    def __init__(self, folder: Path) -> None:
        """Opens or begins it. What a killed process left half written at the end is cut off."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self._progress_path = folder / "progress.json"

    def append(self, entry: Entry) -> bool:
        """Adds the entry, on disk when this returns; False when the journal has one of its key already.

        Blocks for the disk: call it in a thread.
        """
        known = self._repair()
        if entry.key in known:
            return False
        line = json.dumps(asdict(entry), separators=(",", ":"), allow_nan=False)
        with self._path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return True

    def entries(self) -> list[Entry]:
        """Every whole entry, in order."""
        if not self._path.exists():
            return []
        whole, _, _ = self._path.read_bytes().rpartition(b"\n")
        return [_entry(json.loads(line)) for line in whole.splitlines() if line]

    @property
    def progress(self) -> Progress:
        """What the tracker last said."""
        try:
            return Progress(**json.loads(self._progress_path.read_bytes()))
        except FileNotFoundError:
            return Progress()

    def note(self, progress: Progress) -> None:
        """The tracker's word on how far it is; replaces the last one at once."""
        part = self._progress_path.with_suffix(".part")
        part.write_text(json.dumps(asdict(progress)))
        part.replace(self._progress_path)

    def _repair(self) -> set[str]:
        if not self._path.exists():
            return set()
        content = self._path.read_bytes()
        whole = content.rpartition(b"\n")[0] + b"\n" if b"\n" in content else b""
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        return {_entry(json.loads(line)).key for line in whole.splitlines() if line}


def _entry(document: dict[str, Any]) -> Entry:
    return _KINDS[document["kind"]](**document)


def _now() -> int:
    return time.time_ns() // 1_000_000
