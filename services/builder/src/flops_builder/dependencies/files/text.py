"""Reading text files of a repository."""

from __future__ import annotations

from pathlib import Path

from flops_protocol.errors import FlopsError

MAX_BYTES = 10_000_000
"""Locks of big projects have megabytes."""


def read_text(
    folder: Path, name: str, *, missing: str = "the file is missing", line: int | None = None, by: str | None = None
) -> str:
    """The text of a file that lies below `folder`; line ends are `\\n`.

    `by` and `line` say which file asked for it, for the error.

    :raises FlopsError: FLOPS-B021 when it is not there, leaves the folder, or is too big
    """
    file = folder / name
    where = by or name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FlopsError("FLOPS-B021", f"{name} lies outside the repository", file=where, line=line)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise FlopsError("FLOPS-B021", f"{name} is over {MAX_BYTES // 1_000_000} MB", file=where, line=line)
        raw = file.read_bytes()
    except OSError as error:
        raise FlopsError("FLOPS-B021", f"{name}: {missing}", file=where, line=line) from error
    try:
        # PowerShell's `pip freeze > requirements.txt` writes UTF-16 with a byte order mark.
        text = raw.decode("utf-16") if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Names and versions are ASCII; what is left is a comment in an old code page.
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
