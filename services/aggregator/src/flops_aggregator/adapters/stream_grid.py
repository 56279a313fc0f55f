"""A Flower grid over our own streams: strategies and messages work on it as they do on Flower's."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from flops_federation.errors import AnswerTimeoutError, StreamError
from flops_federation.flower import reply_from_parcel, to_parcel
from flops_federation.parcels import Parcel
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

NODE_UNAVAILABLE = 5
"""Flower's error code for a node that is not there."""
DEADLINE = "deadline-seconds"
"""The key of a parcel's metadata that says how long the aggregator waits."""
_ROOT, _RUN, _TASK = 1, 1, 1


class Streams(Protocol):
    """The learners' streams."""

    @property
    def learners(self) -> Mapping[str, dict[str, Any]]:
        """Who is here."""
        ...

    async def ask(self, learner: str, parcel: Parcel, timeout: float) -> Parcel:
        """Asks one learner.

        :raises StreamError: when it does not answer
        """
        ...

    def drop(self, learner: str, reason: str) -> None:
        """Closes a learner's stream."""
        ...


FailureReason = Callable[[str, StreamError], str]
"""Puts into words why a learner did not answer."""


@functools.lru_cache(maxsize=4096)
def node_id(learner: str) -> int:
    """The number that Flower knows a learner by: the same after every restart."""
    return int.from_bytes(hashlib.sha256(learner.encode()).digest()[:8], "big") >> 1


class StreamGrid(Grid):  # type: ignore[misc]
    """Flower's grid of the learners that are here.

    `exchange` is for our own rounds, on the event loop. The rest is Flower's interface, which blocks: call it from any
    other thread.
    """

    def __init__(
        self, streams: Streams, loop: asyncio.AbstractEventLoop, reason: FailureReason = lambda _, error: str(error)
    ) -> None:
        """`loop` is the one that the streams live on."""
        self._streams = streams
        self._loop = loop
        self._reason = reason
        self._run = Run.create_empty(_RUN)
        self._only: Sequence[str] | None = None
        self._numbers = itertools.count(1)
        self._pushed: dict[str, asyncio.Future[Message]] = {}
        # `Message` takes from here who it is from; a SuperLink would have set it.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = _TASK, _RUN, _ROOT

    def limit_to(self, learners: Sequence[str] | None) -> None:
        """Has strategies choose among these only; None: among all that are here."""
        self._only = learners

    def name_of(self, node: int) -> str:
        """The learner of a node ID.

        :raises KeyError: when none that is here has it
        """
        return next(name for name in (*(self._only or ()), *self._streams.learners) if node_id(name) == node)

    async def exchange(self, messages: Iterable[Message], timeout: float) -> list[Message]:
        """Sends all, and returns when each has its reply; an error reply for a learner that gave none in time."""
        return list(await asyncio.gather(*(self._ask(message, timeout) for message in messages)))

    async def _ask(self, message: Message, timeout: float) -> Message:
        number = next(self._numbers)
        message.metadata.__dict__["_message_id"] = str(number)
        try:
            learner = self.name_of(message.metadata.dst_node_id)
        except StopIteration:
            return Message(Error(NODE_UNAVAILABLE, "no such learner is here"), reply_to=message)
        parcel = to_parcel(message)
        parcel.metadata[DEADLINE] = timeout
        try:
            return reply_from_parcel(await self._streams.ask(learner, parcel, timeout), message)
        except StreamError as error:
            late = isinstance(error, AnswerTimeoutError)
            if late:
                # Its own deadline was earlier, so it hangs altogether: the next round must not wait for it again.
                self._streams.drop(learner, str(error))
            code = 0 if late else NODE_UNAVAILABLE
            return Message(Error(code, self._reason(learner, error)), reply_to=message)

    # Flower's interface, in its order.

    def set_run(self, run: Run) -> None:
        """See `flwr.serverapp.Grid`."""
        self._run = run

    @property
    def run(self) -> Run:
        """See `flwr.serverapp.Grid`."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """The IDs of the learners that are here, or of those that it is limited to."""
        return [node_id(name) for name in (self._streams.learners if self._only is None else self._only)]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Sends all without waiting for the replies, which `pull_messages` gives by these IDs."""

        async def push() -> list[str]:
            names = []
            for message in messages:
                task = asyncio.ensure_future(self._ask(message, message.metadata.ttl))
                name = f"pushed-{next(self._numbers)}"
                self._pushed[name] = task
                names.append(name)
            return names

        return asyncio.run_coroutine_threadsafe(push(), self._loop).result()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that have come for these messages, each once."""

        async def pull() -> list[Message]:
            done = [name for name in message_ids if name in self._pushed and self._pushed[name].done()]
            return [self._pushed.pop(name).result() for name in done]

        return asyncio.run_coroutine_threadsafe(pull(), self._loop).result()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Sends all and waits for the replies; without a timeout, as long as the messages' time to live."""
        batch = list(messages)
        seconds = timeout if timeout is not None else max((m.metadata.ttl for m in batch), default=0.0)
        return asyncio.run_coroutine_threadsafe(self.exchange(batch, seconds), self._loop).result()
