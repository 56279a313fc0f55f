"""How a build tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, Protocol

from flops_protocol.messages.actors import BuildPhase

WEIGHTS: Mapping[BuildPhase, float] = {
    BuildPhase.CLONE: 5,
    BuildPhase.CHECK: 2,
    BuildPhase.RESOLVE: 15,
    BuildPhase.INSTALL: 30,
    BuildPhase.SMOKE: 15,
    BuildPhase.LAYERS: 23,
    BuildPhase.PUSH: 10,
}
"""What part of a build each phase is, in percent; measured on a cold build of a scikit-learn repository."""


class Report(Protocol):
    """Who wants to know how a build goes. Both methods return at once; neither may raise."""

    def progress(
        self,
        phase: BuildPhase,
        percent: float,
        detail: str,
        *,
        bytes_done: int | None,
        bytes_total: int | None,
        estimate_seconds: float | None,
    ) -> None:
        """Takes where the build is."""
        ...

    def log(self, lines: list[str], stream: Literal["mesh", "code"]) -> None:
        """Takes lines for people."""
        ...


class Meter:
    """Turns "this phase is half done" into percent of the whole that never fall, and an estimate of what is left.

    `phases` of a build overlap: the runtime layer is made while the dependencies are resolved. The phase that is told
    is the latest that has begun.
    """

    def __init__(self, report: Report, expected_seconds: float) -> None:
        """`expected_seconds`: how long a build of this kind took here before."""
        self._report = report
        self._expected = expected_seconds
        self._started = time.monotonic()
        self._percent = 0.0
        self._phase = BuildPhase.CLONE
        self._fractions = dict.fromkeys(BuildPhase, 0.0)
        self._begun: dict[BuildPhase, float] = {}
        self.phase_seconds: dict[str, float] = {}
        """Wall-clock seconds from the first to the last word about each phase."""

    def expect(self, seconds: float) -> None:
        """Takes how long a build of this kind took here before, once it is known which kind it is."""
        self._expected = seconds

    @property
    def percent(self) -> float:
        """How far the build is."""
        return self._percent

    @property
    def seconds(self) -> float:
        """How long the build has run."""
        return time.monotonic() - self._started

    def at(
        self,
        phase: BuildPhase,
        fraction: float,
        detail: str = "",
        *,
        bytes_done: int | None = None,
        bytes_total: int | None = None,
    ) -> None:
        """Takes that `fraction` (0 to 1) of the phase is done."""
        now = time.monotonic()
        order = list(BuildPhase)
        self.phase_seconds[phase] = round(now - self._begun.setdefault(phase, now), 3)
        self._fractions[phase] = max(self._fractions[phase], min(1.0, fraction))
        if order.index(phase) >= order.index(self._phase):
            self._phase = phase
        self._percent = max(
            self._percent, min(100.0, sum(WEIGHTS[each] * self._fractions[each] for each in BuildPhase))
        )
        self._report.progress(
            self._phase,
            round(self._percent, 1),
            detail,
            bytes_done=bytes_done,
            bytes_total=bytes_total,
            estimate_seconds=self._estimate(),
        )

    def finish(self, detail: str) -> None:
        """Takes that the build is done, whichever phases it went through."""
        self._fractions = dict.fromkeys(BuildPhase, 1.0)
        self.at(BuildPhase.PUSH, 1.0, detail)

    def log(self, *lines: str, stream: Literal["mesh", "code"] = "mesh") -> None:
        """Passes lines on."""
        if lines:
            self._report.log(list(lines), stream)

    def _estimate(self) -> float:
        # What is known from earlier builds counts at first; the further the build is, the more its own pace does.
        done = self._percent / 100
        from_pace = self.seconds * (1 - done) / done if done > 0 else self._expected
        from_history = max(0.0, self._expected - self.seconds)
        return round(done * from_pace + (1 - done) * from_history, 1)
