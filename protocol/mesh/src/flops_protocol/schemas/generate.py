"""Every generated document, by its path in the repository."""

from __future__ import annotations

import json
from typing import Any

from flops_protocol.schemas.asyncapi import asyncapi
from flops_protocol.schemas.handbook import errors_index, handbook
from flops_protocol.schemas.messages import message_schemas

SCHEMAS = "protocol/schemas/v1"


def documents() -> dict[str, str]:
    """All documents: path below the repository's root, and text."""
    schemas = message_schemas()
    generated = {f"{SCHEMAS}/{kind}.json": _json(schema) for kind, schema in schemas.items()}
    generated[f"{SCHEMAS}/asyncapi.json"] = _json(asyncapi())
    generated["docs/protocol.md"] = handbook(schemas)
    generated["docs/errors/README.md"] = errors_index()
    return generated


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
