"""Which mesh a command talks to, and asking it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from anyio import current_time
from flops_protocol.bus import Bus
from flops_protocol.channels import CANCEL, HISTORY, LIST, LOGS, SHOW, Channel
from flops_protocol.errors import FlopsError
from flops_protocol.messages._base import Message
from flops_protocol.messages.requests import ListRequest, Reply, SlaMistake

from flops_cli.mesh.state import StateFolder

M = TypeVar("M", bound=Message)

ANSWER_SECONDS = 15.0
ASK_AGAIN_SECONDS = 3.0
REPEATABLE: tuple[Channel[Any], ...] = (LIST, SHOW, CANCEL, HISTORY, LOGS)
"""What can be asked twice: the answer is the same, and nothing more is done."""


class Refused(FlopsError):  # noqa: N818 - it is the mesh's answer, not a defect
    """Raised when the mesh answered a request with an error. `mistakes` are those of an SLA."""

    mistakes: list[SlaMistake]
    """What is wrong in the SLA, where it is about one."""

    @classmethod
    def from_reply(cls, reply: Reply) -> Refused:
        """The error of a reply.

        :raises ValueError: when the reply carries none
        """
        if reply.error is None:
            raise ValueError("this reply is no refusal")
        refused = cls.__new__(cls)
        refused.body, refused.mistakes = reply.error, reply.mistakes
        Exception.__init__(refused, str(refused))
        return refused


def broker_url(broker: str | None, state: Path) -> str:
    """The broker that is meant: the one that was named, else that of the mesh in the state folder.

    :raises FlopsError: FLOPS-P006 when neither is there
    """
    if broker is not None:
        return broker
    folder = StateFolder(state)
    mesh = folder.mesh()
    if mesh is None or not folder.held:
        raise FlopsError("FLOPS-P006", f"No broker was named, and no mesh runs on {folder.root}")
    return mesh.broker


@asynccontextmanager
async def session(broker: str | None, state: Path) -> AsyncIterator[Bus]:
    """A connection to the mesh.

    :raises FlopsError: FLOPS-P006 when there is none
    """
    # Imported here: a command that needs no mesh starts faster without.
    from flops_cli.adapters.mqtt import connected

    async with connected(broker_url(broker, state)) as bus:
        yield bus


async def ask(bus: Bus, channel: Channel[M], message: M, *, timeout: float = ANSWER_SECONDS) -> Reply:
    """Asks, and gives back an answer that is no error.

    What may be asked twice without harm is asked again: a broker that has just started passes a request on to nobody
    while the service is not connected to it yet.

    :raises Refused: when the answer is an error
    :raises FlopsError: FLOPS-P008 when there is none in time
    """
    until = current_time() + timeout
    while True:
        left = until - current_time()
        patience = min(left, ASK_AGAIN_SECONDS) if channel in REPEATABLE else left
        try:
            reply = await bus.request(channel, message, timeout=patience)
            break
        except FlopsError as error:
            if error.body.code != "FLOPS-P008" or current_time() >= until:
                raise
    if reply.error is not None:
        raise Refused.from_reply(reply)
    return reply


async def until_managed(bus: Bus) -> None:
    """Returns when the manager answers: before a request that must not be sent twice.

    :raises FlopsError: FLOPS-P008 when it does not in time
    """
    await ask(bus, LIST, ListRequest(limit=1))


async def full_id(bus: Bus, project: str) -> str:
    """The project that a person means by the start of its ID, or by `last`.

    :raises FlopsError: FLOPS-S003 when there is none, or more than one
    """
    reply = await ask(bus, LIST, ListRequest(limit=200))
    known = [item.project for item in reply.projects or []]
    if project in known:
        return project
    if project == "last" and known:
        return known[0]
    fitting = [name for name in known if name.startswith(project)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and len(known) == 200:
        return project  # It may be older than the list goes back: the mesh knows.
    found = f"{', '.join(fitting[:5])} all start so" if fitting else f"there are {len(known)} projects"
    raise FlopsError("FLOPS-S003", f"{project} names no single project: {found}")
