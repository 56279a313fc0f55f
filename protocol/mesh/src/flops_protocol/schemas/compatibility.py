"""Whether a schema may take the place of another within v1: old and new, each as writer and as reader, must fit.

Beside what breaks documents, this counts as a break what loses meaning without breaking any: a field that is gone, a
default that changed. What is allowed: new optional fields, new messages, and other words for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flops_protocol.describe import Schema, resolve

OLD_WRITER = "what old writers send, new readers refuse"
NEW_WRITER = "what new writers send, old readers refuse"
NEITHER = "neither reads what the other writes"
MEANING = "old and new take the same document for different things"

_FOR_PEOPLE = {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "deprecated"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_COMPARED_APART = {"properties", "required", "items", "additionalProperties", "anyOf", "enum", "default", "$ref"}


def breaks(old: Schema, new: Schema) -> list[str]:
    """Why `new` may not replace `old`: one line each, with the path in the document; empty when it may."""
    return list(_breaks(old, new, old, new, "$", frozenset()))


def _breaks(
    old_root: Schema, new_root: Schema, old: Schema, new: Schema, path: str, seen: frozenset[tuple[str, str]]
) -> Iterator[str]:
    names = (old.get("$ref", ""), new.get("$ref", ""))
    if all(names):
        if names in seen:
            return
        seen |= {names}
    if old.get("default", ...) != new.get("default", ...) and "default" in old and "default" in new:
        yield f"{path}: the default {_json(old['default'])} became {_json(new['default'])}: {MEANING}"
    old, new = resolve(old_root, old), resolve(new_root, new)
    yield from _properties(old_root, new_root, old, new, path, seen)
    yield from _values(old, new, path)
    for key in ("items", "additionalProperties"):
        below = f"{path}[]" if key == "items" else f"{path}.*"
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _breaks(old_root, new_root, before, after, below, seen)
        elif before != after:
            yield f"{below}: {_json(before)} became {_json(after)}: {MEANING}"
    before, after = old.get("anyOf", []), new.get("anyOf", [])
    if len(before) != len(after):
        yield f"{path}: {len(before)} alternatives became {len(after)}: {_direction(len(after) < len(before))}"
    else:
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            # A field that may be null is spelled as two alternatives; the path need not show that.
            below = path if len(before) == 2 and {"type": "null"} in before else f"{path}({index + 1})"
            yield from _breaks(old_root, new_root, one, other, below, seen)


def _properties(
    old_root: Schema, new_root: Schema, old: Schema, new: Schema, path: str, seen: frozenset[tuple[str, str]]
) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    was, now = set(old.get("required", [])), set(new.get("required", []))
    for name in before:
        if name not in after:
            direction = NEW_WRITER if name in was else MEANING
            yield f"{path}.{name}: the field is gone: {direction}"
            continue
        yield from _breaks(old_root, new_root, before[name], after[name], f"{path}.{name}", seen)
        if (name in was) != (name in now):
            what = "optional" if name in was else "required"
            yield f"{path}.{name}: the field became {what}: {NEW_WRITER if name in was else OLD_WRITER}"
    for name in after:
        if name not in before and name in now:
            yield f"{path}.{name}: the new field is required: {OLD_WRITER}"


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = old.get("enum", []), new.get("enum", [])
    for value in before:
        if value not in after:
            yield f"{path}: the value {_json(value)} is gone: {OLD_WRITER}"
    for value in after:
        if value not in before:
            yield f"{path}: the value {_json(value)} is new: {NEW_WRITER}"
    for key in sorted((old.keys() | new.keys()) - _FOR_PEOPLE - _COMPARED_APART):
        if (one := old.get(key)) == (other := new.get(key)):
            continue
        if key in _LOWER | _UPPER:
            tighter = one is None or (other is not None and (other > one) == (key in _LOWER))
            direction = _direction(tighter)
        elif {one, other} == {"integer", "number"}:
            direction = _direction(other == "integer")
        elif one is not None and other is not None:
            direction = NEITHER
        else:
            direction = _direction(one is None)
        yield f"{path}: {key} {_json(one)} became {_json(other)}: {direction}"


def _direction(tighter: bool) -> str:
    return OLD_WRITER if tighter else NEW_WRITER


def _json(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
