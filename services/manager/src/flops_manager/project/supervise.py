"""How one actor is: what its own words and the engine's come to together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flops_manager.engine import Presence
from flops_manager.project.policy import Policy
from flops_manager.project.state import Actor
from flops_manager.project.there import Report, There


@dataclass(frozen=True)
class Missing:
    """It was not started yet, or was taken down with the mesh: nobody's fault."""


@dataclass(frozen=True)
class Pending:
    """There is nothing to do but wait; look again at `until`, if something does not come first."""

    until: datetime | None = None


@dataclass(frozen=True)
class Alive:
    """It is there and says how it stands."""

    report: Report


@dataclass(frozen=True)
class Dead:
    """It is gone, or as good as."""

    reason: str


Condition = Missing | Pending | Alive | Dead


def condition(actor: Actor, there: There, now: datetime, policy: Policy) -> Condition:
    """How the actor is. What the broker says in its name (`lost`) is a hint: the engine has the last word."""
    report = there.report(actor)
    if there.running is None:
        return Alive(report) if report is not None and not _away(report) else Pending()
    running = there.running.get(actor.instance)
    if running is None or running.incarnation < actor.restarts:
        return Missing()
    if running.presence is Presence.EXITED:
        ended = max(running.ended_at or running.started_at, there.listening_since)
        settled = ended + timedelta(seconds=policy.settle_seconds)
        if now < settled:
            return Pending(settled)  # Its last words may explain it.
        return Dead(_ending(running.exit_code))
    if running.presence is Presence.STARTING:
        return Pending()
    if report is None:
        silent_until = max(running.started_at, there.listening_since) + timedelta(seconds=policy.start_seconds)
        if now < silent_until:
            return Pending(silent_until)
        return Dead(f"it runs, but said nothing in {policy.start_seconds:g} s")
    if _away(report):
        # The hint may be about the life before; an actor that runs comes back to the broker by itself.
        away_until = max(report.at, running.started_at, there.listening_since) + timedelta(seconds=policy.lost_seconds)
        if now < away_until:
            return Pending(away_until)
        return Dead(f"it runs, but has been away from the broker for {policy.lost_seconds:g} s")
    return Alive(report)


def _away(report: Report) -> bool:
    return report.status.state.value in {"lost", "stopped"}


def _ending(code: int | None) -> str:
    if code is None:
        return "its process is gone"
    if code > 128:
        return f"its process was killed by signal {code - 128}"
    return f"its process ended with exit code {code}"
