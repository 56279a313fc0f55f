"""Whole lives of projects in a world that does what it likes: whatever happens, the project comes to its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flops_manager.engine import EngineActor, Presence
from flops_manager.project.actions import Command, Deploy, Fail, Halt, LookUp, Remove, ResolveRef
from flops_manager.project.decide import decide
from flops_manager.project.decision import entered
from flops_manager.project.log import Details, Draft, Entry
from flops_manager.project.state import ProjectState, append, fold
from flops_manager.project.there import Fact, Report, There
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import EventName, ProjectStage, Role
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.manager.samples import (
    COMMIT,
    DIGEST,
    POLICY,
    PROJECT,
    START,
    TRAINING,
    images,
    node,
    round_report,
    status,
    submitted,
)

STATES = {
    Role.BUILDER: ["ready", "building", "succeeded", "failed", "stopped", "lost"],
    Role.AGGREGATOR: ["starting", "ready", "waiting", "training", "tracking", "done", "failed", "stopped", "lost"],
    Role.LEARNER: ["starting", "ready", "loading-data", "joined", "training", "done", "failed", "stopped", "lost"],
}
ERROR = FlopsError("FLOPS-T007", "it failed").body


class Life(RuleBasedStateMachine):
    """A project, its manager as decisions and a fold, and everything around it at random."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.log: list[Entry] = []
        self.state: ProjectState | None = None
        self.engine: dict[str, EngineActor] = {}
        self.reports: dict[str, Report] = {}
        self.facts: list[Fact] = []
        self.numbers = 0
        self.epoch = 100
        self.engine_answers = True

    @initialize(found=st.booleans(), learners=st.integers(1, 3), quorum=st.integers(1, 3))
    def submit(self, found: bool, learners: int, quorum: int) -> None:
        self.found = found
        self.write(submitted(min_available_clients=learners, min_fit_clients=min(quorum, learners)))
        self.reconcile()

    @property
    def project(self) -> ProjectState:
        assert self.state is not None
        return self.state

    def write(self, *drafts: Draft) -> None:
        self.state, entries = append(self.state, drafts, self.now, project=PROJECT)
        self.log += entries

    # The manager

    def reconcile(self) -> None:
        for _ in range(100):
            there = There(
                reports=dict(self.reports),
                running=dict(self.engine) if self.engine_answers else None,
                facts=list(self.facts),
                nodes=(node(),),
            )
            decision = decide(self.project, there, self.now, POLICY)
            if decision.drafts or decision.consumed:
                self.facts = [fact for fact in self.facts if fact.number not in decision.consumed]
                self.write(*decision.drafts)
                continue
            if not any(self.perform(action) for action in decision.actions):
                return
        raise AssertionError(f"no rest: {decision}")

    def perform(self, action: Any) -> bool:
        """Does what an action does; whether anything has changed by it."""
        match action:
            case ResolveRef():
                self.write(entered(ProjectStage.RESOLVING, "resolved", details=Details(commit=COMMIT)))
            case LookUp() if self.found:
                details = Details(source_key=DIGEST)
                self.write(Draft(EventName.IMAGE_FOUND, "found", images=images(), details=details))
                self.write(entered(ProjectStage.DEPLOYING, "deploying"))
            case LookUp():
                self.write(Draft(EventName.IMAGE_MISSED, "missed", details=Details(source_key=DIGEST)))
                self.write(entered(ProjectStage.BUILDING, "building"))
            case Deploy(instance, incarnation):
                there = self.engine.get(instance)
                assert there is None or there.incarnation < incarnation, "what runs is not deployed again"
                actor = self.project.actors[instance]
                self.engine[instance] = EngineActor(
                    PROJECT, actor.role, instance, actor.node, incarnation, Presence.RUNNING, self.now
                )
            case Remove(instance):
                self.engine.pop(instance, None)
                actor = self.project.actors[instance]
                self.write(Draft(EventName.ACTOR_REMOVED, "removed", role=actor.role, instance=instance))
            case Halt(instance):
                return self.engine.pop(instance, None) is not None
            case Fail(_, error):
                details = Details(outcome=ProjectStage.FAILED)
                self.write(Draft(EventName.ERROR_REPORTED, "failed", error=error, details=details))
            case Command():
                return False
        return True

    # The world

    def live(self) -> list[str]:
        return sorted(self.project.actors)

    @precondition(lambda self: self.project.actors)
    @rule(data=st.data())
    def an_actor_says_something(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(self.live()))
        role = self.project.actors[instance].role
        value = data.draw(st.sampled_from(STATES[role]))
        more: dict[str, Any] = {}
        if value == "failed":
            more["error"] = ERROR
        if value == "succeeded":
            more["images"] = images()
        if value == "done" and role is Role.AGGREGATOR:
            more["training"] = TRAINING
        command = data.draw(st.sampled_from(["", None, "other"]))
        # Sometimes of the life before.
        epoch = data.draw(st.sampled_from([self.epoch, self.epoch - 1]))
        self.epoch += 1
        self.reports[instance] = Report(status(self.project, instance, value, command, **more), epoch, self.now)
        self.reconcile()

    @precondition(lambda self: self.project.actors)
    @rule(finished=st.booleans())
    def actors_do_as_they_are_told(self, finished: bool) -> None:
        for instance, actor in self.project.actors.items():
            value, more = "training", {}
            if actor.role is Role.BUILDER:
                value, more = ("succeeded", {"images": images()}) if finished else ("building", {})
            elif actor.role is Role.AGGREGATOR and finished and self.project.stage is ProjectStage.TRAINING:
                value, more = "done", {"training": TRAINING}
            self.epoch += 1
            said = status(self.project, instance, value, **more)
            self.reports[instance] = Report(said, self.epoch, self.now)
        self.reconcile()

    @precondition(lambda self: self.engine)
    @rule(data=st.data(), code=st.sampled_from([0, 1, 137, None]))
    def a_process_ends(self, data: st.DataObject, code: int | None) -> None:
        instance = data.draw(st.sampled_from(sorted(self.engine)))
        ended = replace(self.engine[instance], presence=Presence.EXITED, ended_at=self.now, exit_code=code)
        self.engine[instance] = ended
        self.reconcile()

    @precondition(lambda self: self.engine)
    @rule()
    def the_machine_restarts(self) -> None:
        self.engine.clear()
        self.reconcile()

    @rule(number=st.integers(1, 5), instance=st.sampled_from(["aggregator", "aggregator-a2", "stranger"]))
    def a_round_is_told(self, number: int, instance: str) -> None:
        self.numbers += 1
        self.facts.append(Fact(self.numbers, instance, round_report(number)))
        self.reconcile()

    @rule(seconds=st.sampled_from([0.1, 1, 20, 61, 400]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.reconcile()

    @rule(answers=st.booleans())
    def the_engine_answers_or_not(self, answers: bool) -> None:
        self.engine_answers = answers
        self.reconcile()

    @precondition(lambda self: not self.project.stage.ended and self.project.outcome is None)
    @rule(really=st.sampled_from([False] * 7 + [True]))
    def somebody_cancels(self, really: bool) -> None:
        if not really:
            return
        self.write(Draft(EventName.CANCEL_REQUESTED, "cancel", details=Details(outcome=ProjectStage.CANCELLED)))
        self.reconcile()

    @precondition(lambda self: self.project.stage in {ProjectStage.FAILED, ProjectStage.CANCELLED})
    @rule()
    def somebody_retries(self) -> None:
        self.write(Draft(EventName.RETRIED, "retry", stage=ProjectStage.ACCEPTED))
        self.reconcile()

    # What always holds

    @invariant()
    def what_has_ended_runs_nothing(self) -> None:
        if self.state is not None and self.state.stage.ended:
            assert not self.state.actors
            assert not self.engine

    @invariant()
    def nothing_runs_that_is_not_wanted(self) -> None:
        if self.state is not None:
            assert set(self.engine) <= set(self.state.actors)

    @invariant()
    def each_round_is_written_once_an_attempt(self) -> None:
        rounds = [
            (entry.event.attempt, entry.details.round)
            for entry in self.log
            if entry.event.name is EventName.ROUND_FINISHED
        ]
        assert len(rounds) == len(set(rounds))

    def teardown(self) -> None:
        """Whatever has happened, time alone brings it to its end."""
        if self.state is None:
            return
        self.engine_answers = True
        for _ in range(20):
            if self.project.stage.ended:
                break
            self.now += timedelta(days=40)
            self.reconcile()
        assert self.project.stage.ended, self.project
        assert [entry.event.sequence for entry in self.log] == list(range(1, len(self.log) + 1))
        state: ProjectState | None = None
        for entry in self.log:
            state = fold(state, entry)
        assert state == self.state


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
