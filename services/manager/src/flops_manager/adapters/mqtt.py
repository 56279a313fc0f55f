"""The manager's connection to the broker."""

from __future__ import annotations

from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.bus.mqtt import Credential, MqttBus

from flops_manager.settings import Settings


def connect(settings: Settings, identity: Identity, testament: Testament) -> Bus:
    """A bus on the broker of the settings; the credential file holds `user:password`."""
    credential = None
    if settings.credential_file is not None:
        user, _, password = settings.credential_file.read_text().strip().partition(":")
        credential = Credential(user, password)
    return MqttBus(
        settings.broker,
        identity,
        testament=testament,
        credential=credential,
        session_seconds=settings.session_seconds,
        connect_timeout=settings.connect_timeout,
    )
