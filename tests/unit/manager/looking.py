"""How the tests look at a decision."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flops_manager.engine import EngineActor, Presence
from flops_manager.project.actions import Fail
from flops_manager.project.decide import decide
from flops_manager.project.decision import Decision
from flops_manager.project.state import ProjectState
from flops_manager.project.there import Report, There
from flops_protocol.errors import FlopsError

from tests.unit.manager.samples import (
    POLICY,
    START,
    process,
)

ERROR = FlopsError("FLOPS-T001", "no column 'label'").body


def there(*reports: Report, running: list[EngineActor] | None = None, **more: Any) -> There:
    by_name = {getattr(r.status, "instance", None) or getattr(r.status, "learner", ""): r for r in reports}
    return There(reports=by_name, running={actor.instance: actor for actor in running or []}, **more)


def look(state: ProjectState, view: There, at: datetime = START) -> Decision:
    return decide(state, view, at, POLICY)


def names(decision: Decision) -> list[str]:
    return [draft.name.value for draft in decision.drafts]


def everybody(state: ProjectState, **presences: Presence) -> list[EngineActor]:
    return [process(state, name, presences.get(name, Presence.RUNNING)) for name in state.actors]


def failure(decision: Decision) -> Fail:
    fails = [action for action in decision.actions if isinstance(action, Fail)]
    assert len(fails) == 1, decision
    return fails[0]
