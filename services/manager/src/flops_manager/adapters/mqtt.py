"""The manager's connection to the broker."""

from __future__ import annotations

from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.bus.mqtt import Credential, MqttBus

from flops_manager.settings import Settings


def connect(settings: Settings, identity: Identity, testament: Testament) -> Bus:
    """A bus on the broker of the settings; the credential file holds `user:password`."""
    return MqttBus(
        settings.broker,
        identity,
        testament=testament,
        credential=Credential.read(settings.credential_file),
        session_seconds=settings.session_seconds,
        connect_timeout=settings.connect_timeout,
    )
