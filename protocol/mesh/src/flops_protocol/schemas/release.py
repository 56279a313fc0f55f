"""What a release promised: its channels and schemas, kept, so that every later state is compared with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flops_protocol.channels import CHANNELS, ROOT
from flops_protocol.schemas.compatibility import breaks
from flops_protocol.schemas.messages import message_schemas

FOLDER = "protocol/schemas/released"
_KEPT = ("address", "writer", "type", "qos", "retain")


def promise() -> dict[str, Any]:
    """The contract as it stands now."""
    channels = {
        channel.name: {
            "address": f"{ROOT}/{channel.pattern}",
            "writer": channel.writer,
            "type": channel.type,
            "qos": channel.qos,
            "retain": channel.retain,
        }
        for channel in CHANNELS
    }
    return {"channels": channels, "schemas": message_schemas()}


def broken_promises(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of an older contract does not hold any more; empty when everything does."""
    broken = []
    for name, before in old["channels"].items():
        after = new["channels"].get(name)
        if after is None:
            broken.append(f"channel {name} is gone")
            continue
        broken += [
            f"channel {name}: {key} {before[key]} became {after[key]}" for key in _KEPT if before[key] != after[key]
        ]
    for kind, schema in old["schemas"].items():
        if kind in new["schemas"]:
            broken += [f"{kind} {what}" for what in breaks(schema, new["schemas"][kind])]
        else:
            broken.append(f"message {kind} is gone")
    return broken


def broken_since_releases(root: Path) -> list[str]:
    """What does not hold any more of any release kept below the repository's root."""
    new = promise()
    return [
        f"{path.stem}: {what}"
        for path in sorted((root / FOLDER).glob("*.json"))
        for what in broken_promises(json.loads(path.read_text(encoding="utf-8")), new)
    ]


def freeze(root: Path, version: str) -> Path:
    """Keeps the contract of a release.

    :raises FileExistsError: when this version was kept before
    """
    path = root / FOLDER / f"{version}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        json.dump(promise(), file, separators=(",", ":"), ensure_ascii=False)
        file.write("\n")
    return path
