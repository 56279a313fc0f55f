"""Who may publish and subscribe to what: the broker's access rules, from the channel registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flops_protocol.channels import CHANNELS, CLIENT, DEAD_LETTER, MANAGER, OBSERVER, REPLAY, REPLY, ROLES, Channel

SERVICES = (MANAGER, OBSERVER)
"""The roles that answer requests, and that say when they come and go."""


@dataclass(frozen=True, order=True)
class AccessRule:
    """One thing that is allowed; everything else is not."""

    action: Literal["publish", "subscribe"]
    filter: str
    """An MQTT topic filter."""


def access_rules(role: str, **ids: str) -> list[AccessRule]:
    """The rules of one client: a role, and who it is, as far as known.

    `ids` are levels of topics (`project`, `plan`, `learner`, `client`, `instance`, `service`); a level that is not
    given may be any. So `access_rules("learner", project="p", learner="node-1", service="p-learner-node-1")` is one
    learner, and `access_rules("learner")` is all that learners ever do.

    :raises ValueError: when there is no such role
    """
    if role not in ROLES:
        raise ValueError(f"{role} is no role: {', '.join(ROLES)}")
    if role in SERVICES:
        ids |= {"kind": role}
    rules = set()
    for channel in CHANNELS:
        # The client is whose inbox it is, for who asks; who answers writes into everybody's.
        own = {name: value for name, value in ids.items() if name in channel.parameters}
        if _writes(role, channel):
            others = {name: value for name, value in own.items() if not (channel is REPLY and name == "client")}
            rules.add(AccessRule("publish", channel.filter(**others)))
        if role in channel.readers:
            # A client or a service may see every service and every project it may see at all.
            seen = {name: value for name, value in own.items() if name in ("project", "plan", "client")}
            rules.add(AccessRule("subscribe", channel.filter(**seen)))
    return sorted(rules)


def _writes(role: str, channel: Channel[Any]) -> bool:
    if channel is DEAD_LETTER:
        return role != CLIENT
    if channel.writer in ("service", "{kind}"):
        return role in SERVICES
    # Besides clients, the observer asks the manager: for what it missed.
    return channel.writer == role or (role == OBSERVER and channel is REPLAY)
