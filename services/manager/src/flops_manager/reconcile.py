"""Brings every project forward: one worker a project, so that a slow one is in nobody's way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import structlog
from anyio.abc import TaskGroup
from flops_protocol.errors import FlopsError

from flops_manager.execute import Executor
from flops_manager.project.actions import Action
from flops_manager.project.decide import decide
from flops_manager.project.decision import Decision
from flops_manager.project.log import Draft
from flops_manager.project.policy import Policy
from flops_manager.project.state import ProjectState
from flops_manager.project.there import There

log = structlog.get_logger(__name__)

MAX_TURNS = 1000
"""How many decisions may follow on each other without anything to do: far more than a history of an attempt has."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.2, 30.0


class _OutdatedError(Exception):
    """Raised when a project has moved on since it was looked at."""


class Reconciler:
    """Looks at every project on every event, on every connect, every so often, and at its deadline."""

    def __init__(self, executor: Executor, policy: Policy, clock: Callable[[], datetime], seconds: float) -> None:
        """`seconds`: how often a project is looked at without any reason."""
        self._executor = executor
        self._store = executor.store
        self._policy = policy
        self._clock = clock
        self._seconds = seconds
        self._workers: dict[str, anyio.Event] = {}
        self._failures: dict[str, int] = {}
        self._group: TaskGroup | None = None
        self._listening_since = clock()

    def listening(self) -> None:
        """We have got to the broker, for the first time or again: everything may be different now."""
        self._listening_since = self._clock()
        self.wake_all()

    def wake(self, project: str) -> None:
        """Something has happened in a project, or may have."""
        if project in self._workers:
            self._workers[project].set()
        elif self._group is not None and project in self._store.live:
            self._workers[project] = anyio.Event()
            self._group.start_soon(self._work, project)

    def wake_all(self) -> None:
        """Something has happened that may concern every project."""
        for project in self._store.live:
            self.wake(project)

    async def run(self) -> None:
        """Until it is cancelled. What actions have begun in the engine goes on."""
        async with anyio.create_task_group() as self._group:
            try:
                self.wake_all()
                async for project in self._executor.engine.changes():
                    self.wake(project)
            finally:
                self._group.cancel_scope.cancel()
                self._group = None

    async def _work(self, project: str) -> None:
        """Brings one project to its end."""
        running: dict[Action, anyio.CancelScope] = {}
        self._failures[project] = 0
        try:
            async with anyio.create_task_group() as group:
                while (decision := await self._decide_or_fail(project)) is not None:
                    for action in [action for action in running if action not in decision.actions]:
                        running.pop(action).cancel()
                    for action in decision.actions:
                        if action not in running:
                            running[action] = anyio.CancelScope()
                            group.start_soon(self._perform, project, action, running)
                    await self._wait(project, decision.wake_at)
                group.cancel_scope.cancel()
        finally:
            del self._workers[project], self._failures[project]
        # It may have been retried between its end and ours.
        if project in self._store.live:
            self.wake(project)

    async def _wait(self, project: str, wake_at: datetime | None) -> None:
        seconds = self._seconds
        if wake_at is not None:
            # Never long by a clock that may be set: it is looked at again, and then waits for the rest.
            seconds = min(seconds, max(0.0, (wake_at - self._clock()).total_seconds()))
        with anyio.move_on_after(seconds):
            await self._workers[project].wait()
        self._workers[project] = anyio.Event()

    async def _decide_or_fail(self, project: str) -> Decision | None:
        """A defect of ours ends the project that it shows in, not the manager; a broken database does end it."""
        try:
            return await self._decide(project)
        except sqlite3.Error:
            raise
        except Exception as error:
            log.exception("a project cannot be decided on", project=project)
            reason = (
                error if isinstance(error, FlopsError) else FlopsError("FLOPS-P010", f"{type(error).__name__}: {error}")
            )
            await self._executor.fail(project, reason.body)
            return Decision(wake_at=self._clock() + self._pause(project))

    def _pause(self, project: str) -> timedelta:
        """The longer, the more has failed in this project."""
        self._failures[project] += 1
        seconds = FIRST_PAUSE_SECONDS * 2 ** min(self._failures[project], 20)
        return timedelta(seconds=min(seconds, LAST_PAUSE_SECONDS))

    async def _decide(self, project: str) -> Decision | None:
        """Writes what has happened, until only actions are left; None at the end of the project."""
        for _ in range(MAX_TURNS):
            state = await self._store.state(project)
            if state.stage.ended:
                return None
            decision = decide(state, await self._look(project), self._clock(), self._policy)
            if not decision.drafts and not decision.consumed:
                return decision
            try:
                await self._store.change(
                    project, _if_still(state, decision.drafts), operation="progress", consumed=decision.consumed
                )
            except _OutdatedError:
                continue
        raise FlopsError("FLOPS-P010", f"{project} does not come to rest")

    async def _look(self, project: str) -> There:
        there = await self._store.there(project)
        running = None
        try:
            running = {actor.instance: actor for actor in await self._executor.engine.list(project)}
        except (OSError, FlopsError) as error:
            log.warning("the engine does not answer", project=project, error=str(error))
        return replace(there, running=running, nodes=self._executor.nodes.known, listening_since=self._listening_since)

    async def _perform(self, project: str, action: Action, running: dict[Action, anyio.CancelScope]) -> None:
        """Does one action; when it fails without a reason that ends the project, it is decided again after a pause."""
        scope = running[action]
        with scope:
            try:
                await self._executor.perform(project, action)
            except sqlite3.Error:
                raise
            except Exception:
                log.exception("an action failed; it is tried again", project=project, action=repr(action))
                await anyio.sleep(self._pause(project).total_seconds())
        if running.get(action) is scope:
            del running[action]
        self.wake(project)


def _if_still(seen: ProjectState, drafts: list[Draft]) -> Callable[[ProjectState], list[Draft]]:
    """Decides on the drafts, if the project is still as it was seen."""

    def decide_now(state: ProjectState) -> list[Draft]:
        if state.sequence != seen.sequence:
            raise _OutdatedError
        return drafts

    return decide_now
