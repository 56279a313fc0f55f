"""Reads an SLA as people write it: with comments and trailing commas, and with every mistake named at once."""

from __future__ import annotations

import difflib
import json
import math
import re
from typing import Any

from pydantic import ValidationError

from flops_protocol.describe import describe, resolve
from flops_protocol.errors import FlopsError
from flops_protocol.messages.requests import SlaMistake
from flops_protocol.sla import LEAST_MEMORY, STRATEGIES, PostTrainingStep, Sla

_TOKEN = re.compile(
    r"""
    (?P<string> "(?:[^"\\\n]|\\[^\n])*" )
  | (?P<comment> (?:%|\#|//)[^\n]* | /\*.*?\*/ )
  | (?P<mark> \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_MAX_FOUND = 80
_MAX_MISTAKES = 100
"""More are counted only, so that whatever the document is, the answer fits into a message."""


class SlaError(FlopsError):
    """Raised when an SLA is not JSON (FLOPS-S001) or has mistakes (FLOPS-S002)."""

    mistakes: list[SlaMistake]
    """Every mistake of the document; empty when it is not JSON."""

    def __init__(
        self, code: str, detail: str, *, mistakes: list[SlaMistake] | None = None, line: int | None = None
    ) -> None:
        """See `FlopsError`."""
        self.mistakes = mistakes or []
        super().__init__(code, detail, line=line)


def read_sla(text: str) -> tuple[Sla, list[str]]:
    """The SLA that a document asks for, and notices: what in it has another effect than one may expect.

    Beyond JSON, the document may have comments (`%`, `#`, `//` to the end of the line, `/* */`) and trailing commas, as
    FLOps's manual has them.

    :raises SlaError: FLOPS-S001 with line and column when it is not JSON; FLOPS-S002 with all mistakes
    """
    document = _parse(text)
    if not isinstance(document, dict):
        raise _mistaken([SlaMistake(path="$", found=_found(document), allowed="an object: { … }")])
    mistakes = _mistakes_of_values(document, "$")
    try:
        # Through JSON again, because only there strict checks take a name for its enum value.
        sla = Sla.model_validate_json(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"), strict=True)
    except ValidationError as error:
        mistakes += _mistakes_of_model(error, document)
    mistakes += _mistakes_of_wishes(document)
    if mistakes:
        raise _mistaken(sorted(mistakes, key=lambda mistake: mistake.path))
    return sla, _notices(sla)


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys were written twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.twice = sorted({key for key in keys if keys.count(key) > 1}) if len(self) < len(keys) else []


def _parse(text: str) -> Any:
    plain = _plain_json(text.removeprefix("\ufeff"))
    try:
        return json.loads(plain, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise _not_json(plain, error.pos, _explain(plain, error)) from error
    except RecursionError as error:
        raise SlaError("FLOPS-S001", "the document is nested too deeply") from error
    except ValueError as error:  # Python reads no integer of more than 4300 digits.
        raise SlaError("FLOPS-S001", "a number has thousands of digits") from error


def _plain_json(text: str) -> str:
    """The document with spaces for comments and trailing commas, so that every position stays what it was."""
    characters = list(text)
    before, comma = "", -1  # The last token, and where the last comma is that may turn out to be a trailing one.
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        match token.lastgroup, token[0]:
            case "comment", comment:
                characters[start:end] = ["\n" if character == "\n" else " " for character in comment]
                continue
            case "mark", '"':
                raise _not_json(text, start, 'a string is not closed on its line; is a " missing?')
            case "mark", ",":
                comma = start if before not in ("", ",", "[", "{") else -1
            case "mark", "}" | "]" if comma >= 0 and before == ",":
                characters[comma] = " "
            case "mark", "/" if text.startswith("/*", start):
                raise _not_json(text, start, "a comment is not closed")
        before = token[0]
    return "".join(characters)


def _explain(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "the document is empty"
    written = text[: error.pos].rstrip()
    if error.pos >= len(text.rstrip()):
        return "the document ends too early; is a closing bracket missing?"
    match error.msg:
        case "Expecting ',' delimiter" if "\n" in text[len(written) : error.pos]:
            return f"expecting ',' delimiter; is a comma missing at the end of line {written.count(chr(10)) + 1}?"
        case "Expecting ',' delimiter":
            return "expecting ',' delimiter; is a comma or a closing bracket missing before this?"
        case "Extra data":
            return "the document has ended before this"
        case message:
            return message[0].lower() + message[1:]


def _not_json(text: str, position: int, what: str) -> SlaError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    rest = text[position:].split("\n", 1)[0].strip()
    found = f", found {_cut(rest)}" if rest else ""
    return SlaError("FLOPS-S001", f"line {line}, column {column}: {what}{found}", line=line)


def _mistaken(mistakes: list[SlaMistake]) -> SlaError:
    if (more := len(mistakes) - _MAX_MISTAKES) > 0:
        rest = SlaMistake(path="$", found=f"{more} more mistakes", allowed="none")
        mistakes = [*mistakes[:_MAX_MISTAKES], rest]
    text = "; ".join(f"{mistake.path}: found {mistake.found}, allowed is {mistake.allowed}" for mistake in mistakes)
    return SlaError("FLOPS-S002", text, mistakes=mistakes)


def _mistakes_of_values(value: Any, path: str) -> list[SlaMistake]:
    """What no model looks for: keys written twice, and values that JSON itself has no way to write."""
    mistakes = []
    if isinstance(value, _Object):
        mistakes += [
            SlaMistake(path=_child(path, key), found="the key more than once", allowed="each key once")
            for key in value.twice
        ]
    if isinstance(value, dict):
        for key, member in value.items():
            mistakes += _mistakes_of_values(member, _child(path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            mistakes += _mistakes_of_values(member, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        mistakes.append(SlaMistake(path=path, found=_found(value), allowed="a finite number"))
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        mistakes.append(SlaMistake(path=path, found=_found(value), allowed="a whole number of at most 64 bits"))
    elif isinstance(value, str) and any(0xD800 <= ord(character) < 0xE000 for character in value):
        mistakes.append(SlaMistake(path=path, found=_found(value), allowed="whole characters (no half of a pair)"))
    return mistakes


def _mistakes_of_model(error: ValidationError, document: dict[str, Any]) -> list[SlaMistake]:
    schema = Sla.model_json_schema()
    mistakes = []
    for problem in error.errors(include_url=False, include_context=False):
        location = problem["loc"]
        path = "$"
        for part in location:
            path = f"{path}[{part}]" if isinstance(part, int) else _child(path, part)
        match problem["type"]:
            case "missing":
                mistakes.append(SlaMistake(path=path, found="nothing", allowed=_allowed(schema, location)))
            case "extra_forbidden":
                keys = _keys(schema, location[:-1])
                mistakes.append(
                    SlaMistake(path=path, found="an unknown key", allowed=_nearest(str(location[-1]), keys))
                )
            case "finite_number":
                continue  # Found among the values already.
            case _:
                found = _found(problem["input"])
                mistakes.append(SlaMistake(path=path, found=found, allowed=_allowed(schema, location)))
    if "customerID" in document and "customer_id" in document:
        mistakes = [mistake for mistake in mistakes if mistake.path != "$.customer_id"]
        mistakes.append(SlaMistake(path="$.customer_id", found="the key beside customerID", allowed="one of the two"))
    return mistakes


def _node(schema: dict[str, Any], location: tuple[int | str, ...]) -> dict[str, Any]:
    """The part of the schema that speaks of a location; empty where it says nothing."""
    node = schema
    for part in location:
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get("customerID" if part == "customer_id" else part, {})
        node = resolve(schema, node)
    return node


def _keys(schema: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    return list(_node(schema, location).get("properties", {}))


def _mistakes_of_wishes(document: dict[str, Any]) -> list[SlaMistake]:
    """What the schema takes, but no aggregator of this version can do: better said now than after the build."""
    mistakes = []
    strategy = document.get("strategy")
    name = strategy.get("name") if isinstance(strategy, dict) else None
    if isinstance(name, str) and name not in STRATEGIES:
        allowed = _nearest(name, list(STRATEGIES))
        mistakes.append(SlaMistake(path="$.strategy.name", found=_found(name), allowed=allowed))
    if document.get("federation") == "superlink":
        allowed = '"stream": this version runs no SuperLink'
        mistakes.append(SlaMistake(path="$.federation", found=_found("superlink"), allowed=allowed))
    return mistakes


def _nearest(key: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(key, keys, n=1)
    lower = [known for known in keys if known.lower() == key.lower()]
    names = ", ".join(keys)
    return f"{(lower or close)[0]}, or another of: {names}" if lower or close else f"only: {names}"


def _allowed(schema: dict[str, Any], location: tuple[int | str, ...]) -> str:
    return describe(schema, _node(schema, location))


def _notices(sla: Sla) -> list[str]:
    training = sla.training_configuration
    notices = []
    if sla.use_devel_base_images:
        notices.append("use_devel_base_images has no effect: images are assembled from cached layers anyway.")
    if training.mode == "hierarchical":
        notices.append(
            f"mode hierarchical is trained as classic: one aggregator, {training.training_rounds} rounds;"
            f" training_cycles ({training.training_cycles}) has no effect."
        )
    elif training.training_cycles != 1:
        notices.append("training_cycles has no effect in the classic mode; set training_rounds.")
    if not training.data_tags:
        notices.append("data_tags is empty: no node has data for this project.")
    for key in ("min_fit_clients", "min_evaluate_clients"):
        wanted = getattr(training, key)
        if wanted > training.min_available_clients:
            notices.append(
                f"{key} ({wanted}) is above min_available_clients ({training.min_available_clients}):"
                f" {wanted} learners are needed."
            )
    memory = sla.resource_constraints.memory
    if memory is not None and memory < LEAST_MEMORY:
        notices.append(
            f"resource_constraints.memory ({memory} MB) is less than ML libraries take: {LEAST_MEMORY} MB are allowed."
        )
    steps = sla.post_training_steps
    if PostTrainingStep.DEPLOY_IMAGE in steps and PostTrainingStep.BUILD_IMAGE not in steps:
        notices.append("deploy_trained_model_image needs build_image_for_trained_model, which is done, too.")
    return notices


def _child(path: str, key: str) -> str:
    name = _cut(key)
    return f"{path}.{name}" if key.isidentifier() else f"{path}[{json.dumps(name)}]"


def _found(value: Any) -> str:
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_FOUND else f"{text[: _MAX_FOUND - 1]}…"
