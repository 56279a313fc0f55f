"""How gRPC is set up on both sides."""

from __future__ import annotations

from dataclasses import dataclass

METHOD = "/flops.federation.v1.Parameters/Exchange"
SERVICE, RPC = "flops.federation.v1.Parameters", "Exchange"
TOKEN_KEY, LEARNER_KEY, EPOCH_KEY = "flops-token", "flops-learner", "flops-epoch"
SERVER_NAME = "aggregator.flops.internal"
"""The name in every aggregator's certificate: what is trusted is the certificate itself, wherever it listens."""
WINDOW_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StreamOptions:
    """Limits of a stream. The defaults notice a dead or frozen peer within 4.5 seconds."""

    keepalive_seconds: float = 1.5
    """How often each side asks whether the other is there, when nothing else is on the way."""
    keepalive_timeout_seconds: float = 3.0
    """How long an answer may take. It queues behind parameters that are being sent; see docs/training.md for slow
    links."""
    connect_seconds: float = 10.0
    max_body_bytes: int = 64 * 1024**3

    def channel_arguments(self) -> list[tuple[str, int]]:
        """gRPC core's arguments: pings always allowed, frames as big as HTTP/2 lets them be, no limit of its own."""
        return [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", int(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout_seconds * 1000)),
            # Without this, gRPC's core waits a minute for the answer, whatever the line above says.
            ("grpc.http2.ping_timeout_ms", int(self.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 200),
            ("grpc.http2.max_frame_size", 2**24 - 1),
            # What is under way at a time: answers to pings queue behind it. Left to itself, gRPC lets it grow to many
            # megabytes, and a slow link then looks dead while it carries parameters.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
            # Each attempt dials anew: gRPC's own backoff would make a learner wait after an aggregator's restart.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.so_reuseport", 0),
        ]
