"""The one control function, level-triggered: what is wanted, what is there, and what makes the difference. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.actors import RoundReport
from flops_protocol.messages.project import EventName, ProjectStage

from flops_manager.project import stages
from flops_manager.project.actions import Fail, LookUp, Remove, ResolveRef
from flops_manager.project.decision import Decision, entered
from flops_manager.project.log import Details, Draft
from flops_manager.project.policy import Policy
from flops_manager.project.state import ProjectState
from flops_manager.project.there import There


def decide(state: ProjectState, there: There, now: datetime, policy: Policy) -> Decision:
    """What has happened that is not in the history yet, and what is to be done.

    Converges: written and done, the next decision names the rest, and in the end nothing.
    """
    decision = Decision()
    if state.stage.ended:
        return decision
    if state.outcome is not None:
        _end(state, decision)
        return decision
    _write_facts(state, there, policy, decision)
    match state.stage:
        case ProjectStage.ACCEPTED:
            if state.commit is None:
                decision.actions.append(ResolveRef(state.attempt))
            else:
                decision.drafts.append(entered(ProjectStage.RESOLVING, f"Goes on with commit {state.commit[:12]}"))
        case ProjectStage.RESOLVING:
            decision.actions.append(LookUp(state.attempt))
        case ProjectStage.BUILDING:
            stages.build(state, there, now, policy, decision)
        case ProjectStage.DEPLOYING | ProjectStage.TRAINING:
            stages.federate(state, there, now, policy, decision)
    deadline = state.deadline
    if deadline is not None and not decision.drafts:
        # What would have met it may be on its way.
        deadline = max(deadline, there.listening_since + timedelta(seconds=policy.settle_seconds))
        if now >= deadline:
            return Decision(actions=[Fail(state.attempt, _late(state, there))])
        decision.look_again(deadline)
    return decision


def _end(state: ProjectState, decision: Decision) -> None:
    """Everything that runs is removed; only then is the end the end."""
    assert state.outcome is not None  # noqa: S101
    if state.actors:
        decision.actions.extend(Remove(instance) for instance in state.actors)
        return
    text = {
        ProjectStage.COMPLETED: "The project is completed; nothing of it runs any more",
        ProjectStage.FAILED: "The project has failed; nothing of it runs any more",
        ProjectStage.CANCELLED: "The project is cancelled; nothing of it runs any more",
    }[state.outcome]
    error = state.error if state.outcome is ProjectStage.FAILED else None
    decision.drafts.append(entered(state.outcome, text, error=error))


def _write_facts(state: ProjectState, there: There, policy: Policy, decision: Decision) -> None:
    """Rounds and errors that actors have told. A round that was told before (after a resume) is not told again."""
    last, reports = state.round, state.reports
    for fact in there.facts:
        decision.consumed.append(fact.number)
        actor = state.actors.get(fact.instance)
        if actor is None:
            continue
        message = fact.message
        if isinstance(message, RoundReport):
            if message.round > last:
                last = message.round
                decision.drafts.append(_round(message, fact.instance))
        elif not message.fatal and reports < policy.error_reports:
            # A fatal one stands in its writer's status, too, which is what ends the attempt.
            reports += 1
            text = f"{fact.instance} reports: {message.error.title}"
            decision.drafts.append(
                Draft(
                    EventName.ERROR_REPORTED,
                    text,
                    role=actor.role,
                    instance=actor.instance,
                    node=actor.node,
                    error=message.error,
                )
            )


def _round(message: RoundReport, instance: str) -> Draft:
    metrics = message.metrics
    result = "" if metrics is None else f": loss {metrics.loss:.4g}, accuracy {metrics.accuracy:.4g}"
    text = f"Round {message.round} of {message.rounds} finished in {message.seconds:.2f} s{result}"
    details = Details(round=message.round)
    return Draft(EventName.ROUND_FINISHED, text, instance=instance, metrics=metrics, details=details)


def _late(state: ProjectState, there: There) -> ErrorBody:
    """The deadline is over: what was waited for, and how it stands."""
    code, seconds = {
        ProjectStage.ACCEPTED: ("FLOPS-B044", state.sla.deadlines.resolving),
        ProjectStage.RESOLVING: ("FLOPS-B044", state.sla.deadlines.resolving),
        ProjectStage.BUILDING: ("FLOPS-B043", state.sla.deadlines.building),
        ProjectStage.DEPLOYING: ("FLOPS-D006", state.sla.deadlines.deploying),
        ProjectStage.TRAINING: ("FLOPS-T013", state.sla.deadlines.training),
    }[state.stage]
    standing = [f"{actor.instance} {_standing(there, actor.instance)}" for actor in state.actors.values()]
    waiting = f": {', '.join(standing[:20])}" if standing else ""
    return FlopsError(code, f"{state.stage.value} was not over after {seconds:g} s{waiting}").body


def _standing(there: There, instance: str) -> str:
    report = there.reports.get(instance)
    if report is not None:
        return report.status.state.value
    running = (there.running or {}).get(instance)
    return "was not started" if running is None else f"is {running.presence.value} and has said nothing"
