"""Loggers that FLOps repositories import. What they write reaches the project's log."""

from __future__ import annotations

import logging
import sys


def configure_logger(name: str, level: int, with_color: bool = False) -> logging.Logger:  # noqa: ARG001
    """A logger that writes to standard output. Colours are for terminals, and there is none: they are left out."""
    made = logging.getLogger(name)
    made.setLevel(level)
    if not made.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        made.addHandler(handler)
    made.propagate = False
    return made


logger = configure_logger("logger", logging.DEBUG)
colorful_logger = configure_logger("colorful_logger", logging.DEBUG, with_color=True)
