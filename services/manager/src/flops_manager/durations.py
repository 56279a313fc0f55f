"""What stages took before: what the next project of the same repository may expect. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage

FORESEEN = (ProjectStage.DEPLOYING, ProjectStage.TRAINING)
"""Stages whose time depends on the repository and its data; what a build takes, the builder knows better."""


def stage_seconds(events: Sequence[ProjectEvent], rounds: int) -> dict[str, float]:
    """What deploying and training took in a project's last attempt, by stage; training for so many rounds.

    :param events: a project's whole history
    :param rounds: of the training that is asked about; the earlier one's is taken as many times as long as it had
        rounds
    """
    attempt = max((event.attempt for event in events), default=1)
    entered = [event for event in events if event.attempt == attempt and event.name is EventName.STAGE_ENTERED]
    done = sum(event.name is EventName.ROUND_FINISHED for event in events if event.attempt == attempt)
    seconds = {event.stage: (after.at - event.at).total_seconds() for event, after in pairwise(entered)}
    found = {stage.value: seconds[stage] for stage in FORESEEN if stage in seconds}
    if ProjectStage.TRAINING in found and done:
        found[ProjectStage.TRAINING.value] *= rounds / done
    return {stage: round(value, 1) for stage, value in found.items()}
