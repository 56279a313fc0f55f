"""Requests that wait for their answer (MQTT 5, section 4.10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flops_protocol.bus.connection import Packet, Wish
from flops_protocol.channels import REPLY
from flops_protocol.envelope import decode
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.requests import Reply


@dataclass(slots=True)
class Inquiry:
    """One request under way."""

    topic: str
    correlation: bytes
    _future: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def answer(self) -> Reply:
        """Waits for the answer; bounded by whoever calls.

        :raises FlopsError: FLOPS-P002 when the answer cannot be read
        """
        return await self._future

    def take(self, payload: bytes) -> None:
        """The answer is here."""
        if self._future.done():
            return  # Delivered twice (QoS 1): the first counts.
        try:
            self._future.set_result(decode(payload, Reply).data)
        except FlopsError as error:
            self._future.set_exception(error)


class Inquiries:
    """The requests of one client, and its inbox.

    Answers do not go through the queue of the handlers, so that a handler may ask, too. They come with QoS 0, so that
    they need no place in the in-flight window, which unhandled messages may have filled; who gets no answer asks again.
    """

    def __init__(self, client: str) -> None:
        """`client`: the topic segment of the inbox."""
        self._client = client
        self._open: dict[str, Inquiry] = {}
        self._subscribed = False

    @property
    def wish(self) -> Wish:
        """The subscription to the inbox."""
        return Wish(REPLY.filter(client=self._client), 0)

    @property
    def wishes(self) -> list[Wish]:
        """The inbox, once somebody has asked something."""
        return [self.wish] if self._subscribed else []

    def first(self) -> bool:
        """Whether this is the first request: then the inbox is subscribed to."""
        first, self._subscribed = not self._subscribed, True
        return first

    @contextmanager
    def ask(self) -> Iterator[Inquiry]:
        """A new request, known until the block is left."""
        request = uuid7()
        topic = REPLY.topic(client=self._client, request=request)
        self._open[topic] = inquiry = Inquiry(topic, request.encode())
        try:
            yield inquiry
        finally:
            del self._open[topic]

    def answered(self, packet: Packet) -> bool:
        """Whether it was for the inbox; an answer that came too late is dropped."""
        inquiry = self._open.get(packet.topic)
        if inquiry is not None and packet.correlation == inquiry.correlation:
            inquiry.take(packet.payload)
            return True
        return REPLY.match(packet.topic) is not None
