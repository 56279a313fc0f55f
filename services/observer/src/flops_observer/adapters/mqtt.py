"""The observer's connection to the broker."""

from __future__ import annotations

from pathlib import Path

from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.bus.mqtt import Credential, MqttBus

SESSION_SECONDS = 3600
"""How long the broker keeps for us what we miss while we are away."""


def connect(url: str, identity: Identity, testament: Testament, credential_file: Path | None) -> Bus:
    """A bus on the broker at `url`; the credential file holds `user:password`."""
    return MqttBus(
        url,
        identity,
        testament=testament,
        credential=Credential.read(credential_file),
        session_seconds=SESSION_SECONDS,
    )
