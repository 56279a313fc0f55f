"""What the world is told when something has happened in a project."""

from __future__ import annotations

from collections.abc import Sequence

from flops_protocol.bus import Bus, Outgoing
from flops_protocol.channels import MANAGER_ERRORS, PROJECT_COMPLETED, PROJECT_EVENTS, PROJECT_STATUS, SPEC
from flops_protocol.messages.project import ErrorReport

from flops_manager.project import views
from flops_manager.project.state import ProjectState
from flops_manager.store.store import Announce, Change


def announcer(bus: Bus, tracking_uri: str | None) -> Announce:
    """Composes, for each change, its events, the new retained state, and the end where it is one."""

    def announce(change: Change, report: ErrorReport | None) -> Sequence[Outgoing]:
        state, before = change.after, change.before
        project = state.project
        messages = [bus.compose(PROJECT_EVENTS, entry.event, project=project) for entry in change.entries]
        if report is not None:
            messages.append(bus.compose(MANAGER_ERRORS, report, project=project))
        if before is None or before.commit is None or before.attempt != state.attempt:
            messages.extend(spec(bus, state, tracking_uri))
        messages.append(bus.compose(PROJECT_STATUS, views.status(state), project=project))
        if state.stage.ended:
            at = change.entries[-1].event.at
            messages.append(bus.compose(PROJECT_COMPLETED, views.completed(state, at), project=project))
        return messages

    return announce


def spec(bus: Bus, state: ProjectState, tracking_uri: str | None) -> Sequence[Outgoing]:
    """What was asked for, as soon as the commit is known. MLflow may be elsewhere than when it was said before."""
    said = views.spec(state, tracking_uri)
    return [] if said is None else [bus.compose(SPEC, said, project=state.project)]
