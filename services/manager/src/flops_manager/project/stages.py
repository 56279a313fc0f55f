"""The stages in which processes run for a project: building, deploying, training. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.identifiers import segment
from flops_protocol.messages.actors import (
    AggregatorState,
    AggregatorStatus,
    BuilderState,
    BuilderStatus,
    LearnerState,
    LearnerStatus,
)
from flops_protocol.messages.project import EventName, ProjectStage, Role

from flops_manager.placement import needed_learners, place_actors, place_builder
from flops_manager.project.actions import Command, Deploy, Fail, Halt, Remove
from flops_manager.project.decision import Decision, entered
from flops_manager.project.log import Details, Draft, Placement
from flops_manager.project.policy import Policy
from flops_manager.project.state import Actor, ProjectState
from flops_manager.project.supervise import Alive, Dead, Missing, Pending, condition
from flops_manager.project.there import There

_SOON = timedelta(seconds=1)


def build(state: ProjectState, there: There, now: datetime, policy: Policy, decision: Decision) -> None:
    """One builder, told what to build, until it has."""
    builders = state.of(Role.BUILDER)
    if not builders:
        _place_builder(state, there, now, decision)
        return
    builder = builders[0]
    report = there.report(builder)
    if report is not None and report.status.command == builder.placement.command:
        status = report.status
        assert isinstance(status, BuilderStatus)  # noqa: S101
        if status.state is BuilderState.SUCCEEDED and status.images is not None:
            _ready(builder, decision)
            repaired = f", with {len(status.repairs)} repairs" if status.repairs else ""
            decision.drafts.append(
                Draft(
                    EventName.BUILD_FINISHED,
                    f"The images are built{repaired}",
                    role=Role.BUILDER,
                    instance=builder.instance,
                    node=builder.node,
                    images=status.images,
                )
            )
            decision.drafts.extend(Draft(EventName.NOTICE, text) for text in (*status.repairs, *status.warnings))
            decision.drafts.append(entered(ProjectStage.DEPLOYING, "The actors are placed and started"))
            return
        if status.state is BuilderState.FAILED and status.error is not None:
            decision.actions.append(Fail(state.attempt, status.error, builder.instance))
            return
    match condition(builder, there, now, policy):
        case Missing():
            decision.actions.append(Deploy(builder.instance, builder.restarts))
        case Pending(until):
            decision.look_again(until)
        case Dead(reason) if builder.restarts < policy.builder_restarts:
            decision.drafts.append(_lost(builder, there, reason))
        case Dead(reason):
            error = FlopsError("FLOPS-B042", f"{builder.instance} on {builder.node}: {reason}").body
            decision.actions.append(Fail(state.attempt, error, builder.instance))
        case Alive(report):
            _ready(builder, decision)
            if report.status.command != builder.placement.command:
                decision.actions.append(_command(Role.BUILDER, [builder]))


def federate(state: ProjectState, there: There, now: datetime, policy: Policy, decision: Decision) -> None:
    """An aggregator and its learners: placed, started, told what to do, and looked after until the training is done."""
    decision.actions.extend(Remove(builder.instance) for builder in state.of(Role.BUILDER))
    if not state.of(Role.AGGREGATOR):
        _place_actors(state, there, now, decision)
        return
    for actor in state.actors.values():
        # Whatever follows from it: the history says who was there.
        if there.report(actor) is not None and not actor.given_up:
            _ready(actor, decision)
    # The one that finishes or fails a project is asked first: learners that end after it has are no loss.
    _look_after_aggregator(state, there, now, policy, decision)
    if decision.drafts and decision.drafts[-1].name is EventName.TRAINING_FINISHED:
        return
    if not any(isinstance(action, Fail) for action in decision.actions):
        _look_after_learners(state, there, now, policy, decision)


def instance_name(base: str, attempt: int) -> str:
    """The name of an actor. Every attempt has names of its own, so that nothing of an earlier one is taken for it."""
    return base if attempt == 1 else f"{base}-a{attempt}"


def _place_builder(state: ProjectState, there: There, now: datetime, decision: Decision) -> None:
    if there.nodes is None:
        decision.look_again(now + _SOON)
        return
    spread = place_builder(there.nodes)
    if spread.error is not None:
        decision.actions.append(Fail(state.attempt, spread.error))
        return
    node = next(verdict.node for verdict in spread.verdicts if verdict.taken)
    command = Placement(command=f"build-{state.attempt}")
    decision.drafts.append(_placed(Role.BUILDER, instance_name("builder", state.attempt), node, command))


def _place_actors(state: ProjectState, there: There, now: datetime, decision: Decision) -> None:
    if there.nodes is None or state.images is None:
        decision.look_again(now + _SOON)
        return
    images = state.images
    platforms = set(images.learner.platforms) & set(images.aggregator.platforms)
    spread = place_actors(there.nodes, state.sla, platforms=platforms, python=images.python)
    if spread.error is not None or spread.aggregator is None:
        decision.actions.append(Fail(state.attempt, spread.error or FlopsError("FLOPS-D001", "aggregator").body))
        return
    command = f"train-{state.attempt}"
    name = instance_name("aggregator", state.attempt)
    decision.drafts.append(_placed(Role.AGGREGATOR, name, spread.aggregator, Placement(command=command)))
    for node, count in spread.learners:
        for part in range(count):
            name = instance_name(f"{segment(node, 50)}-{part + 1}", state.attempt)
            share = Placement(command=command, part=part, parts=count)
            decision.drafts.append(_placed(Role.LEARNER, name, node, share))


def _look_after_aggregator(
    state: ProjectState, there: There, now: datetime, policy: Policy, decision: Decision
) -> None:
    aggregator = state.of(Role.AGGREGATOR)[0]
    report = there.report(aggregator)
    if report is not None and report.status.command == aggregator.placement.command:
        status = report.status
        assert isinstance(status, AggregatorStatus)  # noqa: S101
        working = status.state in {AggregatorState.TRAINING, AggregatorState.TRACKING, AggregatorState.DONE}
        if working and state.stage is ProjectStage.DEPLOYING:
            # In front of rounds that have arrived already.
            joined = len(status.joined) or len(state.of(Role.LEARNER))
            _insert_before_rounds(
                decision, entered(ProjectStage.TRAINING, f"The training begins with {joined} learners")
            )
        if status.state is AggregatorState.DONE and status.training is not None:
            best = status.training.best
            text = f"The training is finished; best is round {best.round} with accuracy {best.accuracy:.4g}"
            decision.drafts.append(
                Draft(
                    EventName.TRAINING_FINISHED,
                    text,
                    role=Role.AGGREGATOR,
                    instance=aggregator.instance,
                    node=aggregator.node,
                    training=status.training,
                    details=Details(outcome=ProjectStage.COMPLETED),
                )
            )
            return
        if status.state is AggregatorState.FAILED and status.error is not None:
            decision.actions.append(Fail(state.attempt, status.error, aggregator.instance))
            return
    match condition(aggregator, there, now, policy):
        case Missing():
            decision.actions.append(Deploy(aggregator.instance, aggregator.restarts))
        case Pending(until):
            decision.look_again(until)
        case Dead(reason) if aggregator.restarts < policy.actor_restarts:
            decision.drafts.append(_lost(aggregator, there, reason))
        case Dead(reason):
            code = "FLOPS-T017" if state.stage is ProjectStage.TRAINING else "FLOPS-D004"
            hint = (
                None if code == "FLOPS-D004" else "It was started again too often; look at its log with `flops logs`."
            )
            text = f"{aggregator.instance} on {aggregator.node}, started {aggregator.restarts + 1} times: {reason}"
            error = FlopsError(code, text, hint=hint).body
            decision.actions.append(Fail(state.attempt, error, aggregator.instance))
        case Alive(report):
            if report.status.command != aggregator.placement.command:
                decision.actions.append(_command(Role.AGGREGATOR, [aggregator]))


def _look_after_learners(state: ProjectState, there: There, now: datetime, policy: Policy, decision: Decision) -> None:
    uninformed: list[Actor] = []
    for learner in state.of(Role.LEARNER):
        if learner.given_up:
            if learner.instance in (there.running or {}):
                decision.actions.append(Halt(learner.instance))
            continue
        report = there.report(learner)
        if report is not None and report.status.command == learner.placement.command:
            status = report.status
            assert isinstance(status, LearnerStatus)  # noqa: S101
            if status.state is LearnerState.FAILED and status.error is not None:
                decision.drafts.append(_lost(learner, there, status.error.title, error=status.error, given_up=True))
                continue
        match condition(learner, there, now, policy):
            case Missing():
                decision.actions.append(Deploy(learner.instance, learner.restarts))
            case Pending(until):
                decision.look_again(until)
            case Dead(reason):
                given_up = learner.restarts >= policy.actor_restarts
                decision.drafts.append(_lost(learner, there, reason, given_up=given_up))
            case Alive(report):
                if report.status.command != learner.placement.command:
                    uninformed.append(learner)
    if uninformed:
        decision.actions.append(_command(Role.LEARNER, uninformed))
    _check_quorum(state, decision)


def _check_quorum(state: ProjectState, decision: Decision) -> None:
    """Learners that were given up are missed only when too few are left: to begin with, or to go on with."""
    learners = state.of(Role.LEARNER)
    gone = [learner for learner in learners if learner.given_up]
    training = state.sla.training_configuration
    needed = training.min_fit_clients if state.stage is ProjectStage.TRAINING else needed_learners(state.sla)
    left = len(learners) - len(gone)
    if not gone or left >= needed:
        return
    decision.actions.append(Fail(state.attempt, _shortage(state, left, needed), gone[-1].instance))


def _shortage(state: ProjectState, left: int, needed: int) -> ErrorBody:
    """The learner's own error where it told one: that is what a person can act on."""
    if state.last_loss is not None:
        return state.last_loss
    code = "FLOPS-T011" if state.stage is ProjectStage.TRAINING else "FLOPS-D004"
    gone = [actor for actor in state.of(Role.LEARNER) if actor.given_up]
    names = ", ".join(f"{actor.instance} (started {actor.restarts + 1} times)" for actor in gone[:10])
    return FlopsError(code, f"{left} of {needed} learners are left; gone: {names}").body


def _insert_before_rounds(decision: Decision, draft: Draft) -> None:
    rounds = [index for index, other in enumerate(decision.drafts) if other.name is EventName.ROUND_FINISHED]
    decision.drafts.insert(rounds[0] if rounds else len(decision.drafts), draft)


def _ready(actor: Actor, decision: Decision) -> None:
    """The first word of an actor's present life."""
    if actor.ready:
        return
    again = f" again (start {actor.restarts + 1})" if actor.restarts else ""
    draft = Draft(
        EventName.ACTOR_READY,
        f"{actor.instance} is there{again}",
        role=actor.role,
        instance=actor.instance,
        node=actor.node,
    )
    if not any(other.name is EventName.ACTOR_READY and other.instance == actor.instance for other in decision.drafts):
        _insert_before_rounds(decision, draft)


def _placed(role: Role, instance: str, node: str, placement: Placement) -> Draft:
    share = f", part {placement.part + 1} of {placement.parts}" if placement.parts > 1 else ""
    return Draft(
        EventName.ACTOR_PLACED,
        f"{instance} goes to {node}{share}",
        role=role,
        instance=instance,
        node=node,
        details=Details(placement=placement),
    )


def _lost(actor: Actor, there: There, reason: str, *, error: ErrorBody | None = None, given_up: bool = False) -> Draft:
    report = there.reports.get(actor.instance)
    then = "it is not started again" if given_up else "it is started again"
    return Draft(
        EventName.ACTOR_LOST,
        f"{actor.instance} is lost: {reason}; {then}",
        role=actor.role,
        instance=actor.instance,
        node=actor.node,
        error=error,
        details=Details(void_epoch=report.epoch if report else None, given_up=given_up),
    )


def _command(role: Role, actors: list[Actor]) -> Command:
    return Command(role, tuple((actor.instance, actor.restarts) for actor in actors))
