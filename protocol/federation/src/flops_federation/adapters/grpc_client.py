"""The learner's side of the stream: one outbound connection, kept until the aggregator or the learner ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from flops_federation.adapters.grpc_server import EXCHANGE
from flops_federation.adapters.options import EPOCH_KEY, LEARNER_KEY, METHOD, SERVER_NAME, TOKEN_KEY, StreamOptions
from flops_federation.errors import FrameError, JoinRefusedError, PeerLostError
from flops_federation.frames import Assembler, Frame, FrameKind, encode_parcel, encode_word
from flops_federation.parcels import Parcel

_REFUSALS = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNIMPLEMENTED,
}
_BYE_SECONDS = 1.0

Handle = Callable[[Parcel], Awaitable[Parcel]]


class LastAnswer(Exception):  # noqa: N818 - an answer that ends a stream, and not a mistake
    """Raised by `handle` to answer, and to leave the stream after that."""

    def __init__(self, answer: Parcel) -> None:
        super().__init__(answer.kind)
        self.answer = answer


@dataclass(frozen=True)
class Invitation:
    """Where to join, and as whom. `epoch` grows with every start of the learner's process; `certificate` is PEM."""

    host: str
    port: int
    learner: str
    token: str
    epoch: int
    certificate: str | None = None
    info: dict[str, Any] = field(default_factory=dict)


async def join(
    invitation: Invitation,
    handle: Handle,
    *,
    on_joined: Callable[[], None] = lambda: None,
    options: StreamOptions | None = None,
) -> str | None:
    """Joins the aggregator and answers its parcels with `handle` until it says goodbye; returns its reason.

    `handle` is called for each parcel as it arrives, also while an earlier call still runs; it must not raise, but for
    `LastAnswer`, after which this returns None. When the stream ends, calls that still run are cancelled.

    :raises JoinRefusedError: when the aggregator does not take us; trying again would not help
    :raises PeerLostError: when the aggregator cannot be reached, or the stream broke
    """
    options = options or StreamOptions()
    channel = _channel(invitation, options)
    try:
        try:
            async with asyncio.timeout(options.connect_seconds):
                await channel.channel_ready()
        except TimeoutError:
            raise PeerLostError(f"no aggregator answers at {invitation.host}:{invitation.port}") from None
        call = channel.stream_stream(METHOD)(
            metadata=(
                (LEARNER_KEY, invitation.learner),
                (TOKEN_KEY, invitation.token),
                (EPOCH_KEY, str(invitation.epoch)),
            )
        )
        session = _Session(call, handle, options)
        try:
            return await session.run(invitation.info, on_joined)
        except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError) as error:
            raise await _reason(call, error) from error
        finally:
            call.cancel()
    finally:
        await asyncio.shield(channel.close(None))


class _Session:
    def __init__(self, call: Any, handle: Handle, options: StreamOptions) -> None:
        self._call = call
        self._handle = handle
        self._assembler = Assembler(options.max_body_bytes)
        self._sending = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._answered_last = asyncio.Event()

    async def run(self, info: dict[str, Any], on_joined: Callable[[], None]) -> str | None:
        # Read in a task of its own: cancelling a read would end the whole call, with no chance to say goodbye.
        reading = asyncio.create_task(self._read(info, on_joined))
        leaving = asyncio.create_task(self._answered_last.wait())
        try:
            await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
            reason = reading.result() if reading.done() else None
            with contextlib.suppress(TimeoutError):
                await self._say_bye("left" if reason is None else "dismissed")
        except FrameError as error:
            raise PeerLostError(str(error)) from error
        except asyncio.CancelledError:
            # We leave on purpose: the aggregator need not take us for lost.
            with contextlib.suppress(TimeoutError, grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                await self._say_bye("left")
            raise
        finally:
            tasks = [reading, leaving, *self._running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return reason

    async def _read(self, info: dict[str, Any], on_joined: Callable[[], None]) -> str:
        await self._call.write(encode_word(FrameKind.HELLO, info))
        if (await self._next()).kind is not FrameKind.WELCOME:
            raise PeerLostError("the aggregator did not say welcome")
        on_joined()
        while (frame := await self._next()).kind is not FrameKind.BYE:
            if frame.parcel is None:
                raise PeerLostError(f"the aggregator sent {frame.kind.name}")
            task = asyncio.create_task(self._answer(frame.parcel))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return str(frame.word.get("reason", ""))

    async def _say_bye(self, reason: str) -> None:
        async with asyncio.timeout(_BYE_SECONDS), self._sending:
            await self._call.write(encode_word(FrameKind.BYE, {"reason": reason}))
            await self._call.done_writing()
            # Ending the call before the other side has read this would look like a lost connection.
            await self._call.code()

    async def _next(self) -> Frame:
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise await _reason(self._call, None)
            if (frame := self._assembler.feed(message)) is not None:
                return frame

    async def _answer(self, parcel: Parcel) -> None:
        last = False
        try:
            answer = await self._handle(parcel)
        except LastAnswer as leave:
            answer, last = leave.answer, True
        metadata = {**answer.metadata, EXCHANGE: parcel.metadata.get(EXCHANGE)}
        async with self._sending:
            whole = False
            try:
                for message in encode_parcel(replace(answer, metadata=metadata)):
                    await self._call.write(message)
                whole = True
            except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                pass  # the stream is gone, which its reader says
            finally:
                if not whole:
                    self._call.cancel()
        if last:
            self._answered_last.set()


async def _reason(call: Any, error: BaseException | None) -> PeerLostError | JoinRefusedError:
    """What the call's status says about its end."""
    code, details = await call.code(), await call.details()
    if code in _REFUSALS:
        return JoinRefusedError(details or code.name)
    return PeerLostError(details or (str(error) if error is not None else f"the stream ended ({code.name})"))


def _channel(invitation: Invitation, options: StreamOptions) -> Any:
    host = f"[{invitation.host}]" if ":" in invitation.host else invitation.host
    address, arguments = f"{host}:{invitation.port}", options.channel_arguments()
    if invitation.certificate is None:
        return grpc.aio.insecure_channel(address, options=arguments)
    credentials = grpc.ssl_channel_credentials(root_certificates=invitation.certificate.encode())
    return grpc.aio.secure_channel(
        address, credentials, options=[*arguments, ("grpc.ssl_target_name_override", SERVER_NAME)]
    )
