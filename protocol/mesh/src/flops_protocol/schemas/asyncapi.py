"""The AsyncAPI 3 document of the mesh: https://www.asyncapi.com/docs/reference/specification/v3.0.0"""

from __future__ import annotations

import re
from typing import Any

from flops_protocol.channels import CHANNELS, CLIENT, REPLY, ROOT, Channel
from flops_protocol.envelope import CONTENT_TYPE
from flops_protocol.identifiers import MAX_SEGMENT

PARAMETERS = {
    "client": "The client that asked, by its MQTT client ID",
    "instance": "The instance of the service",
    "kind": "The kind of service: manager or observer",
    "learner": "The learner",
    "node": "The node",
    "plan": "The plan",
    "project": "The project",
    "request": "The request, by its ID",
    "service": "The service or actor that could not handle the message, by its MQTT client ID",
}
"""What the levels of topics stand for."""


def asyncapi() -> dict[str, Any]:
    """The document. Operations are the writers' `send` and the readers' `receive`; the roles are their tags."""
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        operations[f"send-{channel.name}"] = _operation(channel, "send", [channel.writer])
        operations[f"receive-{channel.name}"] = _operation(channel, "receive", list(channel.readers))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "flops-mesh",
            "version": "1",
            "description": "Federated learning as a service mesh over MQTT 5. Generated; do not edit.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": operations,
        "components": {"messages": {channel.type: _message(channel) for channel in CHANNELS}},
    }


def _channel(channel: Channel[Any]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "address": f"{ROOT}/{channel.pattern}",
        "description": channel.description,
        "messages": {channel.type: {"$ref": f"#/components/messages/{_pointer(channel.type)}"}},
    }
    if channel.parameters:
        document["parameters"] = {
            name: {"description": f"{PARAMETERS[name]}; [a-z0-9-], at most {MAX_SEGMENT} characters"}
            for name in channel.parameters
        }
    return document


def _operation(channel: Channel[Any], action: str, roles: list[str]) -> dict[str, Any]:
    binding: dict[str, Any] = {"qos": channel.qos, "bindingVersion": "0.2.0"}
    if action == "send":
        binding["retain"] = channel.retain
        if channel.expiry is not None:
            binding["messageExpiryInterval"] = channel.expiry
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.description,
        "tags": [{"name": re.sub(r"\W", "", role)} for role in roles],
        "bindings": {"mqtt": binding},
    }
    if channel.writer == CLIENT:
        operation["reply"] = {
            "address": {
                "location": "$message.header#/responseTopic",
                "description": "The response topic of MQTT 5; the answer carries the request's correlation data",
            },
            "channel": {"$ref": f"#/channels/{REPLY.name}"},
        }
    return operation


def _message(channel: Channel[Any]) -> dict[str, Any]:
    return {
        "name": channel.type,
        "title": channel.model.__name__,
        "contentType": CONTENT_TYPE,
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": {"$ref": f"./{channel.type}.json"},
        },
    }


def _pointer(name: str) -> str:
    """A name as a level of a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
