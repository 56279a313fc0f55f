"""What was decided: what is written into the history, and what is to be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flops_protocol.errors import ErrorBody
from flops_protocol.messages.project import EventName, ProjectStage

from flops_manager.project.actions import Action
from flops_manager.project.log import Details, Draft


@dataclass
class Decision:
    """What happens next.

    Drafts come first: they are written, and then it is decided again. Actions are wishes: one that is under way already
    is left alone, and one that is under way and not wished any more is cancelled.
    """

    drafts: list[Draft] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    consumed: list[int] = field(default_factory=list)
    """The numbers of the facts that the drafts have taken in."""
    wake_at: datetime | None = None
    """When to decide again, if nothing happens before."""

    def look_again(self, when: datetime | None) -> None:
        """Decides again at this time at the latest."""
        if when is not None and (self.wake_at is None or when < self.wake_at):
            self.wake_at = when


def entered(stage: ProjectStage, text: str, *, details: Details | None = None, error: ErrorBody | None = None) -> Draft:
    """The project enters a stage."""
    return Draft(EventName.STAGE_ENTERED, text, stage=stage, details=details or Details(), error=error)
