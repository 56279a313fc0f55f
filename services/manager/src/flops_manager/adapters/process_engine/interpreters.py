"""The Python interpreters of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio

OLDEST = (3, 11)
"""Older ones do not run the FL runtime."""
_NAME = re.compile(r"python3\.([0-9]+)")
# What the runtime and the guest cannot do without; distributions split some of it off.
_PROBE = (
    "import sys, ssl, sqlite3, ctypes, zlib; "
    "print('%d.%d' % sys.version_info[:2], sys.implementation.name, sys.executable)"
)
PROBE_SECONDS = 10


async def discover() -> dict[str, Path]:
    """An interpreter for each minor, as `3.11`: our own first, then those on the PATH, then uv's and pyenv's.

    Each was run once, as actors are run: a name on the PATH may be a shim with nothing behind it.
    """
    found = {f"3.{sys.version_info.minor}": Path(getattr(sys, "_base_executable", None) or sys.executable)}
    for minor, candidates in (await anyio.to_thread.run_sync(_candidates)).items():
        for path in candidates:
            if minor not in found and (real := await _probe(path, minor)) is not None:
                found[minor] = real
    return found


def _candidates() -> dict[str, list[Path]]:
    folders = [Path(folder) for folder in os.get_exec_path()]
    for pattern in (".local/share/uv/python/*/bin", ".pyenv/versions/*/bin"):
        folders.extend(sorted(Path.home().glob(pattern), reverse=True))
    # A shim takes ten times as long as what it stands for.
    folders.sort(key=lambda folder: folder.name == "shims")
    candidates: dict[str, list[Path]] = {}
    for folder in folders:
        try:
            names = [entry.name for entry in folder.iterdir()]
        except OSError:
            continue
        for name in names:
            match = _NAME.fullmatch(name)
            if match is not None and (3, int(match[1])) >= OLDEST and os.access(folder / name, os.X_OK):
                candidates.setdefault(f"3.{match[1]}", []).append(folder / name)
    return dict(sorted(candidates.items(), key=lambda item: -int(item[0].partition(".")[2])))


async def _probe(path: Path, minor: str) -> Path | None:
    try:
        with anyio.fail_after(PROBE_SECONDS):
            done = await anyio.run_process(
                [str(path), "-I", "-S", "-c", _PROBE], check=False, stdin=subprocess.DEVNULL, cwd="/"
            )
    except (OSError, TimeoutError):
        return None
    words = done.stdout.decode(errors="replace").strip().split(" ", 2)
    if done.returncode != 0 or words[:2] != [minor, "cpython"]:
        return None
    return Path(words[2])
