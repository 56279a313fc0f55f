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
        """Opens or begins it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self._progress_path = folder / "progress.json"
        self._known: set[str] | None = None

    def append(self, *entries: Entry) -> int:
        """Adds the entries, on disk when this returns; how many, as one whose key is there already is left out.

        What a killed process left half written at the end is cut off first. Blocks for the disk: call it in a thread.
        """
        if self._known is None:
            self._known = self._repair()
        lines = []
        for entry in entries:
            if entry.key not in self._known:
                lines.append(json.dumps(asdict(entry), separators=(",", ":"), allow_nan=False).encode() + b"\n")
                self._known.add(entry.key)
        if lines:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        return len(lines)

    def entries(self) -> list[Entry]:
        """Every whole entry, in order."""
        return self.read(0)[0]

    def read(self, offset: int) -> tuple[list[Entry], int]:
        """The whole entries from a place in the file on, and the place behind them."""
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], offset
        whole = content.rpartition(b"\n")[0]
        if not whole:
            return [], offset
        return [_entry(json.loads(line)) for line in whole.splitlines() if line], offset + len(whole) + 1

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
