"""The stream between real sockets: who is let in, who is asked, and what is noticed when a side goes."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from flops_federation.adapters.certificate import self_signed
from flops_federation.adapters.grpc_client import Invitation, LastAnswer, join
from flops_federation.adapters.grpc_server import Joined, Left, serve
from flops_federation.adapters.options import StreamOptions
from flops_federation.errors import AnswerTimeoutError, JoinRefusedError, PeerLostError
from flops_federation.parcels import ArrayData, Parcel

LEARNER = """
import asyncio, sys
from flops_federation.adapters.grpc_client import Invitation, LastAnswer, join
async def handle(parcel):
    if parcel.kind == "train":
        await asyncio.Event().wait()
    return parcel
asyncio.run(join(Invitation("127.0.0.1", int(sys.argv[1]), "one", "", 1), handle))
"""


async def ended(process):
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class Hall:
    """A server and what it noticed."""

    def __init__(self):
        self.seen = []
        self.changed = asyncio.Event()

    def watch(self, change):
        self.seen.append(change)
        self.changed.set()

    async def until(self, condition, seconds=10):
        with anyio.fail_after(seconds):
            while not condition(self.seen):
                self.changed.clear()
                await self.changed.wait()


def tokens(learner, token):
    return None if token == f"token-of-{learner}" else "wrong token"


@asynccontextmanager
async def hall(certificate=None, options=None, authorise=lambda _learner, _token: None):
    found = Hall()
    async with serve(
        "127.0.0.1", authorise=authorise, watch=found.watch, certificate=certificate, options=options
    ) as server:
        found.server = server
        yield found


def invitation(found, learner="one", **more):
    return replace(Invitation("127.0.0.1", found.server.port, learner, f"token-of-{learner}", 1), **more)


async def echo(parcel):
    return parcel


async def test_a_learner_answers_what_it_is_asked():
    async with hall(authorise=tokens) as found, anyio.create_task_group() as group:
        group.start_soon(join, invitation(found, info={"rows": 5}), echo)
        await found.until(lambda seen: seen == [Joined("one", 1, {"rows": 5})])
        big = ArrayData("uint8", (9_000_000,), os.urandom(9_000_000))
        answer = await found.server.ask("one", Parcel("train", arrays={"a": {"0": big}}), 10)
        assert bytes(answer.arrays["a"]["0"].data) == big.data
        await found.server.dismiss("done")
        await found.until(lambda seen: seen[1:] == [Left("one", "dismissed", said_bye=True)])


async def test_goodbye_ends_the_learner_with_its_reason():
    async with hall() as found:
        joined = asyncio.create_task(join(invitation(found), echo))
        await found.until(len)
        await found.server.dismiss("training is over")
        assert await joined == "training is over"


async def test_wrong_token_is_refused():
    async with hall(authorise=tokens) as found:
        with pytest.raises(JoinRefusedError, match="wrong token"):
            await join(invitation(found, token="guess"), echo)
        assert found.seen == []


async def test_nobody_listens():
    with pytest.raises(PeerLostError, match="no aggregator answers"):
        await join(Invitation("127.0.0.1", 9, "one", "", 1), echo, options=StreamOptions(connect_seconds=0.3))


async def test_encrypted_with_the_certificate_of_the_status():
    key, certificate = self_signed("127.0.0.1")
    async with hall(certificate=(key, certificate)) as found, anyio.create_task_group() as group:
        group.start_soon(join, invitation(found, certificate=certificate.decode()), echo)
        await found.until(len)
        assert (await found.server.ask("one", Parcel("query"), 5)).kind == "query"
        await found.server.dismiss("done")


async def test_another_certificate_is_not_trusted():
    _, other = self_signed("127.0.0.1")
    async with hall(certificate=self_signed("127.0.0.1")) as found:
        with pytest.raises(PeerLostError):
            await join(invitation(found, certificate=other.decode()), echo, options=StreamOptions(connect_seconds=1))
        assert found.seen == []


async def test_a_later_process_of_the_same_name_takes_the_place():
    async with hall() as found, anyio.create_task_group() as group:
        first = asyncio.create_task(join(invitation(found), echo))
        await found.until(len)
        group.start_soon(join, invitation(found, epoch=2), echo)
        with pytest.raises(PeerLostError):
            await first
        await found.until(lambda seen: [type(change) for change in seen] == [Joined, Left, Joined])
        with pytest.raises(JoinRefusedError, match="newer process"):
            await join(invitation(found, epoch=1), echo)
        assert (await found.server.ask("one", Parcel("query"), 5)).kind == "query"
        await found.server.dismiss("done")


async def test_no_answer_in_time_leaves_the_learner_joined():
    async def slow(parcel):
        if parcel.kind == "train":
            await asyncio.Event().wait()
        return parcel

    async with hall() as found, anyio.create_task_group() as group:
        group.start_soon(join, invitation(found), slow)
        await found.until(len)
        with pytest.raises(AnswerTimeoutError, match=r"one did not answer within 0\.2 s"):
            await found.server.ask("one", Parcel("train"), 0.2)
        assert (await found.server.ask("one", Parcel("query"), 5)).kind == "query"
        await found.server.dismiss("done")


async def test_asking_who_is_not_here():
    async with hall() as found:
        with pytest.raises(PeerLostError, match="two is not connected"):
            await found.server.ask("two", Parcel("train"), 1)


async def test_a_learner_that_is_cancelled_says_goodbye():
    async with hall() as found:
        joined = asyncio.create_task(join(invitation(found), echo))
        await found.until(len)
        joined.cancel()
        await found.until(lambda seen: seen[1:] == [Left("one", "left", said_bye=True)])


async def test_a_last_answer_is_followed_by_a_goodbye():
    async def last(parcel):
        raise LastAnswer(parcel)

    async with hall() as found:
        joined = asyncio.create_task(join(invitation(found), last))
        await found.until(len)
        assert (await found.server.ask("one", Parcel("train"), 5)).kind == "train"
        assert await joined is None
        await found.until(lambda seen: seen[1:] == [Left("one", "left", said_bye=True)])


async def test_aggregator_gone_is_noticed_at_once():
    async with hall() as found:
        joined = asyncio.create_task(join(invitation(found), echo))
        await found.until(len)
    with anyio.fail_after(2), pytest.raises(PeerLostError):
        await joined


@pytest.mark.parametrize("size", [10, 60_000_000], ids=["idle", "sending"])
@pytest.mark.parametrize(("how", "seconds"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 5)], ids=["killed", "frozen"])
async def test_who_waits_for_a_dead_learner_is_told(how, seconds, size):
    async with hall() as found, anyio.create_task_group() as group:
        process = await anyio.open_process(
            [sys.executable, "-c", LEARNER, str(found.server.port)], stdin=None, stdout=None, stderr=None
        )
        try:
            await found.until(len, 20)

            async def ask():
                data = ArrayData("uint8", (size,), bytes(size))
                with pytest.raises(PeerLostError):
                    await found.server.ask("one", Parcel("train", arrays={"a": {"0": data}}), 30)

            since = time.monotonic()
            if size < 100:
                # What it holds is on its way when it dies.
                group.start_soon(ask)
                await found.server.ask("one", Parcel("query"), 5)
                process.send_signal(how)
            else:
                process.send_signal(how)
                group.start_soon(ask)
            await found.until(lambda seen: len(seen) == 2 and not seen[1].said_bye)
            assert time.monotonic() - since < seconds
        finally:
            await ended(process)
