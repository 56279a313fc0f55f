"""The repository at the commit, on this disk."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.settings import BuilderSettings
from flops_builder.source.git import fetch
from flops_builder.source.location import locate
from flops_builder.source.tree import write_tree


@dataclass(frozen=True)
class Checkout:
    """The files, and where among them the code is."""

    tree: Path
    """The whole repository."""
    code: Path
    """Its `ml_repo_subdir`, or all of it."""
    files: int
    bytes: int
    notices: list[str]


async def check_out(
    url: str,
    commit: str,
    subdir: str | None,
    folder: Path,
    settings: BuilderSettings,
    on_percent: Callable[[float], None],
) -> Checkout:
    """Fetches the commit and writes its files below `folder`, which must be there.

    :raises FlopsError: FLOPS-B001 to FLOPS-B008
    """
    location = locate(url, settings.local_repositories, allow_http=settings.allow_http)
    store = await fetch(location, commit, folder / "store", settings, on_percent)
    tree = await write_tree(store, commit, folder / "tree", settings)
    code = tree.folder / _subfolder(subdir)
    if not await anyio.Path(code).is_dir() or await anyio.Path(code).is_symlink():
        raise FlopsError("FLOPS-B007", f"there is no folder {subdir} in the repository at {commit[:12]}")
    return Checkout(tree.folder, code, tree.files, tree.bytes, tree.notices)


def _subfolder(subdir: str | None) -> str:
    normal = posixpath.normpath((subdir or ".").strip("/") or ".")
    if normal == ".." or normal.startswith("../"):
        raise FlopsError("FLOPS-B007", f"{subdir} leaves the repository")
    return normal
