"""Which files a layer has: where they lie now, what they are called in the image."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.errors import FlopsError

ROOT = "opt/flops"
"""Where the image's folders are, without the leading slash."""

NOISE = re.compile(r"^\.lock$|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json|uv_build\.json)$")
"""What an installer leaves behind: it differs from one installation to the next, and nothing reads it at run time."""

SHEBANG = b"#!"
LONG_SHEBANG = b"'''exec' "
"""What follows `#!/bin/sh` where the interpreter's path is long: `'''exec' /path/python "$0" "$@"`, and `' '''`."""
BALLAST = re.compile(r"^bin/|(^|/)tests?/|\.(h|hpp|c|cpp|pyx|pxd|a)$")
"""What we do without in our own layers; the ML environment is exactly what the repository asks for. (Of `bin/`, uv
alone would be 38 MB; nothing of ours calls a program of its packages.)"""


@dataclass(frozen=True)
class Member:
    """One member of a layer. Exactly one of `file`, `content` and `link` is set."""

    name: str
    """The path in the image, without the leading slash."""
    executable: bool = False
    file: Path | None = None
    content: bytes | None = None
    link: str | None = None


def environment_members(folder: Path, name: str) -> list[Member]:
    """An installed environment as `opt/flops/{name}`, without an installer's noise.

    Console scripts get a first line that is right in any image.
    """
    members = []
    for path, relative in _walk(folder):
        if NOISE.search(relative) or (name != "mlenv" and BALLAST.search(relative)):
            continue
        target = f"{ROOT}/{name}/{relative}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            members.append(Member(target, link=str(path.readlink())))
            continue
        script = _portable_script(path) if relative.startswith("bin/") else None
        members.append(Member(target, bool(mode & 0o100), file=None if script else path, content=script))
    return members


def code_members(folder: Path, tree: Path) -> list[Member]:
    """The repository's code as `opt/flops/code`; `folder` lies in `tree`, the whole repository.

    A link out of the folder into the rest of the repository becomes what it points at.

    :raises FlopsError: FLOPS-B005 when what it points at is no file
    """
    members = []
    for path, relative in _walk(folder):
        target = f"{ROOT}/code/{relative}"
        if path.is_symlink():
            real = path.resolve()
            if real.is_relative_to(folder.resolve()):
                members.append(Member(target, link=str(path.readlink())))
                continue
            if not real.is_relative_to(tree.resolve()) or not real.is_file():
                raise FlopsError("FLOPS-B005", f"the link to {path.readlink()} leaves ml_repo_subdir", file=relative)
        members.append(Member(target, bool(path.stat().st_mode & 0o100), file=path.resolve()))
    return members


def _walk(folder: Path) -> list[tuple[Path, str]]:
    found = []
    start = len(str(folder)) + 1
    for parent, folders, names in os.walk(folder):
        linked = [each for each in folders if Path(parent, each).is_symlink()]
        folders[:] = [each for each in folders if each not in linked]
        for each in [*names, *linked]:
            path = os.path.join(parent, each)  # noqa: PTH118 - for thousands of files, pathlib takes most of the time
            found.append((Path(path), path[start:]))
    return found


def _portable_script(path: Path) -> bytes | None:
    content = path.read_bytes()
    if not content.startswith(SHEBANG):
        return None
    first, _, rest = content.partition(b"\n")
    if first == b"#!/bin/sh" and rest.startswith(LONG_SHEBANG):
        rest = rest.split(b"' '''\n", 1)[-1]
    elif b"python" not in first:
        return None
    return b"#!/usr/bin/env python3\n" + rest
