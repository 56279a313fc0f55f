"""What of a repository needs an engine: a Dockerfile, or `apt.txt` (repo2docker's "Configuration files")."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.choice import BINDER

DOCKERFILE, APT = "Dockerfile", "apt.txt"
BUILDKIT = re.compile(
    r"^\s*(RUN\s+(--\S+\s+)*--(mount|network|security)\b|(COPY|ADD)\s+(--\S+\s+)*--(link|chmod|parents|exclude|checksum)\b"
    r"|(RUN|COPY)\b.*<<-?['\"]?[A-Za-z_])|^#\s*syntax\s*=|\bTARGET(ARCH|PLATFORM|OS|VARIANT)\b|\bBUILDPLATFORM\b",
    re.MULTILINE | re.IGNORECASE,
)
"""What the classic builder does not have (Dockerfile reference)."""
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?")
APT_FILE = """FROM {base}
USER root
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends {packages} \\
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache
"""


@dataclass(frozen=True)
class Recipe:
    """The file that asks for an engine."""

    file: str
    """Relative to the repository."""
    packages: tuple[str, ...] = ()
    """Of Debian; none for a Dockerfile."""
    ignored: tuple[str, ...] = ()
    """Further such files, which do not count."""
    buildkit: bool = False
    """Whether a Dockerfile takes more than the classic builder has."""

    @property
    def own(self) -> bool:
        """Whether it is a Dockerfile, which brings Python and all that the code needs."""
        return not self.packages

    @property
    def why(self) -> str:
        """Why an engine is needed, for people."""
        wants = "the repository's own image" if self.own else f"Debian packages ({', '.join(self.packages)})"
        return f"{self.file} asks for {wants}, which cannot be assembled from wheels"

    def dockerfile(self, base: str) -> str:
        """What the engine builds for an `apt.txt`."""
        return APT_FILE.format(base=base, packages=" ".join(self.packages))


def find_recipe(tree: Path, subdir: str = "") -> Recipe | None:
    """The first Dockerfile, else the first `apt.txt` that names packages: beside the code, else at the root.

    :raises FlopsError: FLOPS-B021 when `apt.txt` has something else than names of packages
    """
    prefix = f"{subdir.strip('/')}/" if subdir.strip("/") not in {"", "."} else ""
    folders = [f"{place}{binder}" for place in dict.fromkeys((prefix, "")) for binder in BINDER]
    there = [
        posixpath.join(folder, name)
        for name in (DOCKERFILE, APT)
        for folder in folders
        if (tree / folder / name).is_file() and not (tree / folder / name).is_symlink()
    ]
    for number, file in enumerate(there):
        others = tuple(there[number + 1 :])
        if file.endswith(DOCKERFILE):
            text = (tree / file).read_text(encoding="utf-8", errors="replace")
            return Recipe(file, ignored=others, buildkit=bool(BUILDKIT.search(text)))
        if packages := _packages(tree, file):
            return Recipe(file, packages, others)
    return None


def _packages(tree: Path, file: str) -> tuple[str, ...]:
    found: list[str] = []
    for number, line in enumerate((tree / file).read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        for name in line.partition("#")[0].split():
            if not PACKAGE.fullmatch(name):
                raise FlopsError("FLOPS-B021", f"{name!r} is no name of a Debian package", file=file, line=number)
            found.append(name)
    return tuple(dict.fromkeys(found))
