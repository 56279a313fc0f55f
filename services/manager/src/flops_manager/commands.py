"""What actors are told. Equal states give equal commands, so that one that is sent again is the same command."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flops_protocol.errors import FlopsError
from flops_protocol.messages.commands import BuildCommand, LearnCommand, LearnerAssignment, TrainCommand
from flops_protocol.messages.project import Role

from flops_manager.project.policy import Policy
from flops_manager.project.state import Actor, ProjectState

DEFAULT_PYTHONS = ("3.12", "3.13", "3.11")
"""What images are made for where nodes leave the choice, best first."""
HEAD_START = 0.95
"""The share of a stage's time that actors get: their own error tells more than ours."""


def build_command(
    state: ProjectState,
    builder: Actor,
    now: datetime,
    registry: str,
    runtime_version: str,
    action: Literal["build", "stop"],
) -> BuildCommand:
    """Build the images, or stop.

    :raises FlopsError: FLOPS-P010 when the images were not looked up before
    """
    if state.source_key is None:
        raise FlopsError("FLOPS-P010", f"{state.project} builds without a source key")
    return BuildCommand(
        project=state.project,
        command=builder.placement.command,
        action=action,
        registry=registry,
        pythons=list(state.pythons or DEFAULT_PYTHONS),
        source_key=state.source_key,
        base_image=state.base_image,
        runtime_version=runtime_version,
        deadline_seconds=_left(state, now, state.sla.deadlines.building),
        gpus=state.gpus,
    )


def train_command(
    state: ProjectState, aggregator: Actor, policy: Policy, action: Literal["train", "stop"]
) -> TrainCommand:
    """Wait for the learners and train, or stop.

    :raises FlopsError: FLOPS-P010 when there are no images
    """
    if state.images is None:
        raise FlopsError("FLOPS-P010", f"{state.project} trains without images")
    learners = [actor.instance for actor in state.of(Role.LEARNER)]
    return TrainCommand(
        project=state.project,
        command=aggregator.placement.command,
        action=action,
        images=state.images,
        learners=learners,
        tokens={name: policy.token(state.project, state.attempt, name) for name in learners},
        round_seconds=state.sla.deadlines.round,
        ready_seconds=state.sla.deadlines.deploying * HEAD_START,
        tracking_seconds=state.sla.deadlines.tracking,
    )


def learn_command(
    state: ProjectState, learners: list[Actor], policy: Policy, action: Literal["train", "stop"]
) -> LearnCommand:
    """Load the data, join and train, or stop; for these learners."""
    return LearnCommand(
        project=state.project,
        command=learners[0].placement.command,
        action=action,
        assignments=[
            LearnerAssignment(
                learner=learner.instance,
                node=learner.node,
                data_tags=state.sla.training_configuration.data_tags,
                part=learner.placement.part,
                parts=learner.placement.parts,
                token=policy.token(state.project, state.attempt, learner.instance),
            )
            for learner in learners
        ],
        load_seconds=state.sla.deadlines.deploying * HEAD_START,
        round_seconds=state.sla.deadlines.round,
    )


def _left(state: ProjectState, now: datetime, whole: float) -> float:
    deadline = state.deadline
    return max(1.0, (deadline - now).total_seconds()) if deadline is not None else whole
