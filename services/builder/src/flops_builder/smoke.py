"""The smoke round: the code's managers are constructed in the finished environment, outside of the builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SmokeRound:
    """What is tried, and within which limits."""

    python: Path
    environment: Path
    prefix: Path | None
    """The conda prefix that interpreter and environment belong to, if they do."""
    code: Path
    scratch: Path
    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Smoked:
    """What came of a smoke round."""

    arrays: int
    """How many parameter arrays the model has."""
    in_network: str
    """Why the code had the network; empty where it had none."""


class SmokeTester(Protocol):
    """Runs smoke rounds."""

    async def run(self, smoke: SmokeRound, on_line: Callable[[str], None]) -> Smoked:
        """Constructs, and takes the parameters on the way round, without a network. `on_line` gets what it prints.

        :raises FlopsError: FLOPS-B011, B012 and FLOPS-B030 to FLOPS-B035, with file and line where the code has them
        """
        ...
