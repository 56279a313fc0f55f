"""How long builds took on this machine, by their kind: what the next one of the kind is expected to take."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from flops_protocol.identifiers import uuid7

Kind = Literal["kept", "new", "engine"]
"""`kept`: the ML environment's layers are in the cache, so that only code is packed; `new`: they have to be made;
`engine`: an engine builds the image below."""

FIRST_SECONDS: dict[Kind, float] = {"kept": 3.0, "new": 15.0, "engine": 120.0}
"""What is expected where no build of the kind was seen yet."""


@dataclass(frozen=True)
class Took:
    """What a build took, in wall-clock seconds; its phases overlap."""

    seconds: float
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """A folder with one file for each kind. Several builders may write at once: the last one counts."""

    folder: Path

    def last(self, kind: Kind, platforms: int) -> Took | None:
        """The last build of this kind for as many platforms. Blocks for reading a small file."""
        try:
            took = json.loads((self.folder / _name(kind, platforms)).read_text())
            return Took(float(took["seconds"]), {str(name): float(value) for name, value in took["phases"].items()})
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None  # what cannot be read is as good as nothing: the next build writes it anew

    def expected(self, kind: Kind, platforms: int) -> float:
        """How many seconds such a build will take."""
        took = self.last(kind, platforms)
        return FIRST_SECONDS[kind] if took is None else took.seconds

    def note(self, kind: Kind, platforms: int, took: Took) -> None:
        """Remembers a build. Blocks for writing a small file.

        :raises OSError: when there is no room
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{uuid7()}"
        new.write_text(json.dumps(asdict(took)))
        new.replace(self.folder / _name(kind, platforms))


def _name(kind: Kind, platforms: int) -> str:
    return f"{kind}-{platforms}.json"
