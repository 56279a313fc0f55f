"""The aggregator's side of the stream: takes learners in, asks them, and notices when they go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import grpc.aio

from flops_federation.adapters.options import EPOCH_KEY, LEARNER_KEY, RPC, SERVICE, TOKEN_KEY, StreamOptions
from flops_federation.errors import AnswerTimeoutError, FrameError, PeerLostError
from flops_federation.frames import Assembler, FrameKind, encode_parcel, encode_word
from flops_federation.parcels import Parcel

EXCHANGE = "exchange"
"""The key of a parcel's metadata that an answer repeats."""


@dataclass(frozen=True)
class Joined:
    """A learner has opened its stream. `epoch` is its process's, `info` is what it says of itself."""

    learner: str
    epoch: int
    info: dict[str, Any]


@dataclass(frozen=True)
class Left:
    """A learner's stream is gone. `said_bye` tells a learner that ended on purpose from one that was lost."""

    learner: str
    reason: str
    said_bye: bool


Watcher = Callable[[Joined | Left], None]
Authorise = Callable[[str, str], str | None]
"""Takes a learner's name and token; returns why it may not join, or None."""


class _Peer:
    """One learner's open stream."""

    def __init__(self, learner: str, epoch: int, info: dict[str, Any], context: Any) -> None:
        self.learner = learner
        self.epoch = epoch
        self.info = info
        self.waiting: dict[int, asyncio.Future[Parcel]] = {}
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason of the learner's goodbye, or why the stream is to be closed."""
        self._context = context
        self._sending = asyncio.Lock()

    async def send(self, parcel: Parcel) -> None:
        """Sends a parcel; when that is interrupted, the stream is of no use any more and is closed."""
        async with self._sending:
            whole = False
            try:
                for message in encode_parcel(parcel):
                    await self._context.write(message)
                whole = True
            finally:
                if not whole:
                    self.close("a message to it was interrupted")

    async def say_bye(self, reason: str) -> None:
        """Tells the learner that it may go."""
        async with self._sending:
            await self._context.write(encode_word(FrameKind.BYE, {"reason": reason}))

    def close(self, reason: str) -> None:
        """Ends the stream at once."""
        if not self.end.done():
            self.end.set_exception(PeerLostError(reason))

    def lose(self, reason: str) -> None:
        """Fails everyone who waits for an answer."""
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(PeerLostError(f"{self.learner}: {reason}"))
        self.waiting.clear()


class StreamServer:
    """Learners' streams by name. Use `serve` to have one.

    Guarantees: a learner has one stream at a time, the newest process's; `watch` hears `Joined` and `Left` in turn for
    each; whoever waits for a learner that goes gets `PeerLostError` at once.
    """

    def __init__(self, authorise: Authorise, watch: Watcher, options: StreamOptions) -> None:
        self._authorise = authorise
        self._watch = watch
        self._options = options
        self._peers: dict[str, _Peer] = {}
        self._exchanges = itertools.count(1)
        self.port = 0

    @property
    def learners(self) -> Mapping[str, dict[str, Any]]:
        """Who is here, with what each said of itself when it joined."""
        return {name: peer.info for name, peer in self._peers.items()}

    async def ask(self, learner: str, parcel: Parcel, timeout: float) -> Parcel:
        """Sends a parcel and waits for its answer.

        :raises PeerLostError: when the learner is not here, or goes before it has answered
        :raises AnswerTimeoutError: when it does not answer within `timeout` seconds
        """
        peer = self._peers.get(learner)
        if peer is None:
            raise PeerLostError(f"{learner} is not connected")
        number = next(self._exchanges)
        answer: asyncio.Future[Parcel] = asyncio.get_running_loop().create_future()
        peer.waiting[number] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._send(peer, replace(parcel, metadata={**parcel.metadata, EXCHANGE: number}))
                return await answer
        except TimeoutError:
            raise AnswerTimeoutError(f"{learner} did not answer within {timeout:g} s") from None
        finally:
            peer.waiting.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # looked at, so that asyncio does not complain about it

    async def _send(self, peer: _Peer, parcel: Parcel) -> None:
        try:
            await peer.send(parcel)
        except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            raise PeerLostError(f"{peer.learner}: {error}") from error

    def drop(self, learner: str, reason: str) -> None:
        """Closes a learner's stream at once; it may join again."""
        if (peer := self._peers.get(learner)) is not None:
            peer.close(reason)

    async def dismiss(self, reason: str, timeout: float = 2.0) -> None:
        """Tells all learners that they may go, and waits until they have gone, at most `timeout` seconds."""
        peers = list(self._peers.values())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(peer.say_bye(reason) for peer in peers), return_exceptions=True)
                if peers:
                    await asyncio.wait([peer.end for peer in peers])
        except TimeoutError:
            for peer in peers:
                peer.close(reason)

    async def exchange(self, _requests: AsyncIterator[bytes], context: Any) -> None:
        """Handles one learner's call, as gRPC has it."""
        metadata = dict(context.invocation_metadata() or ())
        learner, token = str(metadata.get(LEARNER_KEY, "")), str(metadata.get(TOKEN_KEY, ""))
        if (refusal := self._authorise(learner, token)) is not None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal)
        assembler = Assembler(self._options.max_body_bytes)
        try:
            epoch = int(metadata.get(EPOCH_KEY, "0"))
            hello = assembler.feed(await self._read(context))
        except (FrameError, ValueError, PeerLostError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            return
        if hello is None or hello.kind is not FrameKind.HELLO:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a stream begins with a HELLO")
            return
        older = self._peers.get(learner)
        if older is not None and older.epoch > epoch:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"a newer process of {learner} has joined")
        if older is not None:
            older.close("another stream of it took the place")
            self._remove(older, "another stream of it took the place", said_bye=False)
        await self._keep(_Peer(learner, epoch, hello.word, context), assembler, context)

    async def _keep(self, peer: _Peer, assembler: Assembler, context: Any) -> None:
        # gRPC tells a cancelled handler's client nothing, so the stream is read beside, and ended from here.
        reading = asyncio.create_task(self._receive(peer, assembler, context))
        self._peers[peer.learner] = peer
        reason, said_bye = "the connection was lost", False
        try:
            await context.write(encode_word(FrameKind.WELCOME, {}))
            self._watch(Joined(peer.learner, peer.epoch, peer.info))
            reason = await peer.end
            said_bye = True
        except PeerLostError as error:
            reason = str(error)
            await context.abort(grpc.StatusCode.ABORTED, reason)
        finally:
            reading.cancel()
            self._remove(peer, reason, said_bye=said_bye)

    async def _receive(self, peer: _Peer, assembler: Assembler, context: Any) -> None:
        try:
            while (frame := assembler.feed(await self._read(context))) is None or frame.parcel is not None:
                if frame is None or frame.parcel is None:
                    continue
                number = frame.parcel.metadata.get(EXCHANGE)
                future = peer.waiting.get(number) if isinstance(number, int) else None
                # An answer that nobody waits for came too late; its round went on without it.
                if future is not None and not future.done():
                    future.set_result(frame.parcel)
        except (FrameError, PeerLostError, grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            peer.close(str(error))
            return
        if frame.kind is FrameKind.BYE and not peer.end.done():
            peer.end.set_result(str(frame.word.get("reason", "")))
        peer.close(f"no {frame.kind.name} is expected here")

    async def _read(self, context: Any) -> bytes:
        message = await context.read()
        if message is grpc.aio.EOF:
            raise PeerLostError("the connection was closed")
        return bytes(message) if not isinstance(message, bytes) else message

    def _remove(self, peer: _Peer, reason: str, *, said_bye: bool) -> None:
        if self._peers.get(peer.learner) is peer:
            del self._peers[peer.learner]
            peer.lose(reason)
            self._watch(Left(peer.learner, reason, said_bye))


@asynccontextmanager
async def serve(
    host: str,
    port: int = 0,
    *,
    authorise: Authorise,
    watch: Watcher,
    options: StreamOptions | None = None,
    certificate: tuple[bytes, bytes] | None = None,
) -> AsyncIterator[StreamServer]:
    """Listens for learners until the block ends; port 0 takes a free one, which `StreamServer.port` names.

    `certificate` is a PEM key and a PEM certificate chain; None listens in the clear.

    :raises OSError: when the address cannot be taken
    """
    options = options or StreamOptions()
    server = StreamServer(authorise, watch, options)
    handler = grpc.method_handlers_generic_handler(
        SERVICE, {RPC: grpc.stream_stream_rpc_method_handler(server.exchange)}
    )
    transport = grpc.aio.server(options=options.channel_arguments())
    transport.add_generic_rpc_handlers((handler,))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            server.port = transport.add_insecure_port(address)
        else:
            server.port = transport.add_secure_port(address, grpc.ssl_server_credentials([certificate]))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    await transport.start()
    try:
        yield server
    finally:
        # No grace: learners were dismissed before, or this end comes in a hurry.
        await asyncio.shield(transport.stop(None))
