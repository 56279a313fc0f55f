"""JSON Schemas (2020-12) of whole messages: the CloudEvents envelope with its data."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from functools import cache
from typing import Any

from pydantic import BaseModel

from flops_protocol.channels import CHANNELS, Channel
from flops_protocol.envelope import Envelope

Schema = dict[str, Any]


def message_schemas() -> dict[str, Schema]:
    """The schema of each message, by its type, in the order of the registry.

    They say what a reader must take: fields it does not know are none of its business, so that no object is closed.
    """
    return dict(_all())


@cache
def _all() -> dict[str, Schema]:
    return {channel.type: _schema(channel) for channel in CHANNELS}


def _schema(channel: Channel[Any]) -> Schema:
    schema = Envelope[channel.model].model_json_schema()  # type: ignore[name-defined]
    _tidy(schema)
    schema["properties"]["type"] = {"const": channel.type, "type": "string"}
    schema["properties"]["dataschema"] = {"const": channel.schema_id, "type": "string"}
    for name, definition in schema["$defs"].items():
        if name in _models():  # Enumerations have no fields.
            _add_texts(definition, _models()[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": channel.schema_id,
        "title": channel.type,
        "description": inspect.cleandoc(channel.model.__doc__ or ""),
        "type": "object",
        "properties": schema["properties"],
        "required": schema["required"],
        "$defs": dict(sorted(schema["$defs"].items())),
    }


def _tidy(node: Any) -> None:
    """Takes out what pydantic adds without saying anything (titles), and what is only for writers (closed objects)."""
    if isinstance(node, list):
        for member in node:
            _tidy(member)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("title"), str):
        del node["title"]
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    for key, member in node.items():
        # The keys of these two are names of ours, which may well be "title".
        for part in member.values() if key in ("properties", "$defs") else [member]:
            _tidy(part)


def _add_texts(definition: Schema, model: type[BaseModel]) -> None:
    for field, text in _texts(model.__module__, model.__name__).items():
        if field in definition.get("properties", {}):
            definition["properties"][field].setdefault("description", text)


@cache
def _models() -> dict[str, type[BaseModel]]:
    """Every model of the protocol, by name."""
    found: dict[str, type[BaseModel]] = {}
    waiting: list[type[BaseModel]] = [BaseModel]
    while waiting:
        for model in waiting.pop().__subclasses__():
            if model.__module__.startswith("flops_protocol."):
                found[model.__name__] = model
                waiting.append(model)
    return found


@cache
def _texts(module: str, name: str) -> dict[str, str]:
    """The docstrings below a model's fields. Pydantic could read them, too, but would do it at every import."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    texts = {}
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[field] = inspect.cleandoc(text)
    return texts
