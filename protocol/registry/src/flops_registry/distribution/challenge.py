"""What a registry wants to see before it answers (RFC 9110, section 11.6.1; distribution's token specification)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PARAMETER = re.compile(r'([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,\s*|$)')
SCHEME = re.compile(r"\s*(Basic|Bearer)(?:\s+|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Challenge:
    """One `WWW-Authenticate`."""

    scheme: str
    """`basic` or `bearer`."""
    parameters: Mapping[str, str]

    @property
    def realm(self) -> str:
        """For `bearer`, where a token is to be had."""
        return self.parameters.get("realm", "")


def read(header: str) -> Challenge | None:
    """The challenge in a header; None when it is none that we can meet."""
    found = SCHEME.match(header)
    if found is None:
        return None
    parameters: dict[str, str] = {}
    position = found.end()
    while match := PARAMETER.match(header, position):
        name, quoted, plain = match.groups()
        parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        position = match.end()
    return Challenge(found.group(1).lower(), parameters)
