"""The services' code keeps to the registry: who writes a channel, and who reads it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flops_protocol import channels
from flops_protocol.access import access_rules
from flops_protocol.channels import Channel

SERVICES = Path(__file__).resolve().parents[2] / "services"
ROLES = {"cli": "client"}
READING = {"on", "subscribe"}
WRITING = {"publish", "compose", "request", "forget"}


def uses(folder: Path, methods: set[str]) -> Iterator[tuple[str, Channel[Any]]]:
    """Calls of the bus with a channel of the registry by name: where, and which."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr=method), args=[ast.Name(id=name), *_]) if method in methods:
                    channel = getattr(channels, name, None)
                    if isinstance(channel, Channel):
                        yield f"{path.relative_to(SERVICES)}:{node.lineno}", channel


@pytest.mark.parametrize("folder", sorted(SERVICES.iterdir()), ids=lambda path: path.name)
@pytest.mark.parametrize(("action", "methods"), [("subscribe", READING), ("publish", WRITING)])
def test_a_service_does_what_the_registry_says(folder: Path, action: str, methods: set[str]) -> None:
    role = ROLES.get(folder.name, folder.name)
    allowed = {rule.filter for rule in access_rules(role) if rule.action == action}
    others = [f"{where}: {channel.name}" for where, channel in uses(folder, methods) if not may(channel, role, allowed)]
    assert others == [], f"{role} may not {action}"


def may(channel: Channel[Any], role: str, allowed: set[str]) -> bool:
    own = {"kind": role} if "kind" in channel.parameters else {}
    return channel.filter() in allowed or channel.filter(**own) in allowed
