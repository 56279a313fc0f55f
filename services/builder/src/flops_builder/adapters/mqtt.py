"""The builder's connection to the broker."""

from __future__ import annotations

from pathlib import Path

from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.bus.mqtt import Credential, MqttBus


def connect(url: str, identity: Identity, testament: Testament, credential_file: Path | None) -> Bus:
    """A bus on the broker at `url`; the credential file holds `user:password`."""
    return MqttBus(url, identity, testament=testament, credential=Credential.read(credential_file))
