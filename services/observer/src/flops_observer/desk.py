"""The desk: what is known of every project, what has still to be told, and what has to be asked for again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from anyio import CapacityLimiter, Event, to_thread
from flops_protocol.messages.actors import BuildProgress, LogLines
from flops_protocol.messages.project import ProjectEvent

from flops_observer.projection import State, View, with_event, with_state
from flops_observer.store import LogPage, Store

T = TypeVar("T")


@dataclass
class _Flag:
    """Names that wait for somebody, and a way to be woken."""

    names: set[str] = field(default_factory=set)
    _woken: Event = field(default_factory=Event)

    def raise_for(self, name: str) -> None:
        self.names.add(name)
        self._woken.set()

    async def take(self) -> set[str]:
        """Waits until there are names, and takes them all."""
        while not self.names:
            self._woken = Event()
            await self._woken.wait()
        names, self.names = self.names, set()
        return names


class Desk:
    """Keeps first, then shows: what a call of this class took is durable when the call returns.

    Several tasks may call it: a view is read and replaced without a wait in between.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._views: dict[str, View] = {}
        self._one_at_a_time = CapacityLimiter(1)
        self.untold = _Flag()
        """Projects with something new to publish."""
        self.incomplete = _Flag()
        """Projects whose history has a gap."""

    async def view(self, project: str) -> View:
        """All that is known of a project."""
        if project not in self._views:
            kept = await self._in_thread(lambda: self._store.view(project))
            self._views.setdefault(project, kept)
        return self._views[project]

    async def take_events(self, project: str, events: list[ProjectEvent]) -> None:
        """Keeps events of one project, in any order, duplicates or not."""
        await self._in_thread(lambda: self._store.keep_events(events))
        view = await self.view(project)
        for event in events:
            view, _ = with_event(view, event)
        self._show(view)

    async def take_state(self, state: State, *, topic: str, channel: str, at: datetime) -> None:
        """Keeps the newest state of something. Progress is shown only: it is worth nothing after a restart."""
        if not isinstance(state, BuildProgress):
            await self._in_thread(lambda: self._store.keep_state(state, topic=topic, channel=channel, at=at))
        self._show(with_state(await self.view(state.project), state, at))

    async def take_log(self, message: str, role: str, lines: LogLines) -> None:
        """Keeps log lines."""
        await self._in_thread(lambda: self._store.keep_log(message, role, lines))

    async def events(self, project: str, *, after: int, limit: int) -> list[ProjectEvent]:
        """Events after a sequence, in order, up to the first gap."""
        view = await self.view(project)
        found = await self._in_thread(lambda: self._store.events(project, after=after, limit=limit))
        return [event for event in found if event.sequence <= view.applied]

    async def logs(self, project: str, *, role: str | None, instance: str | None, after: int, limit: int) -> LogPage:
        """A page of log lines."""
        return await self._in_thread(
            lambda: self._store.logs(project, role=role, instance=instance, after=after, limit=limit)
        )

    async def told(self, project: str) -> int:
        """The position of the last line that was published."""
        return await self._in_thread(lambda: self._store.told(project))

    async def tell(self, project: str, position: int) -> None:
        """Remembers that lines up to a position were published."""
        await self._in_thread(lambda: self._store.tell(project, position))

    async def look_at_everything(self) -> None:
        """Marks every project that was ever heard of: to be told again, and to be completed."""
        for project in await self._in_thread(self._store.projects):
            self._show(await self.view(project))

    def _show(self, view: View) -> None:
        self._views[view.project] = view
        self.untold.raise_for(view.project)
        if view.has_gap:
            self.incomplete.raise_for(view.project)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._one_at_a_time)
