"""What can go wrong on a stream."""

from __future__ import annotations


class StreamError(Exception):
    """Base of what this package raises."""


class FrameError(StreamError):
    """Raised when bytes arrive that are no frame of this protocol, or more of them than allowed."""


class PeerLostError(StreamError):
    """Raised when the other side is gone, or the stream to it broke, before it answered."""


class AnswerTimeoutError(StreamError):
    """Raised when the other side is there but did not answer in time."""


class JoinRefusedError(StreamError):
    """Raised at the learner when the aggregator does not take it: unknown name, wrong token, other protocol version."""
