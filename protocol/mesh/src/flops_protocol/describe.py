"""JSON Schema in words: what is allowed at a place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]


def resolve(root: Schema, node: Schema) -> Schema:
    """The node itself, or the definition of `root` that it refers to."""
    if "$ref" not in node:
        return node
    found: Schema = root["$defs"][node["$ref"].rpartition("/")[2]]
    return found


def keys_of(node: Schema) -> str:
    """An object in words, by its keys."""
    properties = node.get("properties")
    return f"an object with: {', '.join(properties)}" if properties else "an object"


def describe(root: Schema, node: Schema, of_object: Callable[[Schema], str] = keys_of) -> str:
    """What the node allows, in words: `a whole number from 1 up to 1000`."""
    node = resolve(root, node)
    if "anyOf" in node:
        return " or ".join(describe(root, choice, of_object) for choice in node["anyOf"])
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return f"one of {', '.join(json.dumps(value) for value in node['enum'])}"
    match node.get("type"):
        case "integer":
            return f"a whole number{_bounds(node)}"
        case "number":
            return f"a number{_bounds(node)}"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "string" if node.get("format") == "date-time":
            return "a time (RFC 3339)"
        case "string":
            least, most = node.get("minLength"), node.get("maxLength")
            length = f" of {least or 0} to {most} characters" if most is not None else ""
            return f"a string{length}" if "pattern" not in node else f"a string{length} that matches {node['pattern']}"
        case "array":
            least, most = node.get("minItems"), node.get("maxItems")
            count = (f", at least {least}" if least else "") + (f", at most {most}" if most else "")
            return f"a list{count}, each {describe(root, node.get('items', {}), of_object)}"
        case "object" if isinstance(node.get("additionalProperties"), dict):
            return f"an object, each value {describe(root, node['additionalProperties'], of_object)}"
        case "object":
            return of_object(node)
        case _:
            return "any value"


def _bounds(node: Schema) -> str:
    words = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "up to"), ("exclusiveMaximum", "below"))
    # A bound is a whole number in all our schemas; without the format, 2592000.0 would be written as 2.592e+06.
    return "".join(f" {word} {node[key]:.12g}" for key, word in words if key in node)
