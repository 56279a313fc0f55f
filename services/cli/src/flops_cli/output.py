"""What stands on the terminal: for people through rich, for machines one JSON document and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import orjson
from flops_protocol.errors import ErrorBody
from flops_protocol.messages.requests import SlaMistake
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.text import Text

WIDE = 200
"""Columns of an output that is no terminal."""


class Output:
    """Where a command writes. With `json`, standard output carries documents only."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.console = _console(stderr=json)
        self.errors = _console(stderr=True)

    def document(self, content: Any) -> None:
        """One JSON document, on a line of its own."""
        sys.stdout.buffer.write(encoded(content) + b"\n")
        sys.stdout.buffer.flush()

    def error(self, error: ErrorBody, mistakes: Iterable[SlaMistake] = ()) -> None:
        """An error: with `json` as a document, else on standard error."""
        if self.json:
            self.document({"error": error, "mistakes": list(mistakes)})
        else:
            self.errors.print(error_text(error, mistakes))


def _console(*, stderr: bool) -> Console:
    """A console whose lines are never broken; where there is no terminal, tables have room too."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, soft_wrap=True, width=WIDE)


def encoded(content: Any) -> bytes:
    """Content as JSON, models included; what is None is left out."""
    return orjson.dumps(content, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def error_text(error: ErrorBody, mistakes: Iterable[SlaMistake] = ()) -> Text:
    """An error as people want it: what, where, what next. Without a frame, so that it can be copied and searched."""
    place = "" if error.file is None else f"[bold]{escape(error.file)}:{error.line or 1}[/]"
    lines = [
        f"[bold red]{error.code}: {escape(error.title)}[/]",
        *(f"  {line}" for line in (*escape(error.detail).splitlines(), place) if line),
        *(
            f"  [bold]{escape(mistake.path)}[/]: found {escape(mistake.found)}; allowed: {escape(mistake.allowed)}"
            for mistake in mistakes
        ),
        f"  [green]{escape(error.hint)}[/]",
        f"  [dim]docs/errors/{error.code}.md[/]",
    ]
    return Text.from_markup("\n".join(lines))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True, by_alias=True)
    raise TypeError(f"{type(value).__name__} is no JSON")
