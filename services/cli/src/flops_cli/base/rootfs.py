"""From packages that were only unpacked to a root file system that Python runs in."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

BALLAST = re.compile(
    r"^(dev|proc|sys|run)/.|"
    # What is the site's: where its packages come from, how the machine was called.
    r"^etc/(apt|hostname|resolv\.conf|fstab|cron\.[a-z]+|logrotate\.d|kernel|systemd|init\.d)(/|$)|"
    r"^var/(cache|log|lib/apt|lib/systemd)/.|"
    r"^usr/share/(doc|man|locale|info|lintian|bug|doc-base|gcc|menu|pixmaps|applications|i18n)/.|"
    r"^(usr/)?lib/(systemd|udev|tmpfiles\.d)/|__pycache__/"
)
CERTIFICATES = re.compile(r"^usr/share/ca-certificates/.*\.crt$")
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
PYTHON = re.compile(r"^python(3\.[0-9]+)$")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
"""What packages would write when they are configured."""


@dataclass(frozen=True)
class Rootfs:
    """What was written."""

    python: str | None
    """The minor of its `python3`."""
    certificates: int


def write(source: Path, target: Path, epoch: int) -> Rootfs:
    """Writes an archive of unpacked packages as one of a root file system.

    Documentation, and what is the site's, stay out; users and a bundle of certificates come in. The same packages give
    the same bytes.

    :raises tarfile.TarError: when it is no archive
    :raises OSError: when there is no room
    """
    bundle: dict[str, bytes] = {}
    python = None
    written: set[str] = set()
    with tarfile.open(source) as packages, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in packages:
            name = member.name.removeprefix("./").strip("/")
            if name in {"", "."} or member.isdev() or name in FILES or name == BUNDLE or BALLAST.search(f"{name}"):
                continue
            written.add(name)
            if name == "usr/bin/python3" and (found := PYTHON.match(Path(member.linkname).name)):
                python = found.group(1)
            content = packages.extractfile(member) if member.isreg() else None
            if content is not None and CERTIFICATES.match(name):
                bundle[name] = content.read()
                content = io.BytesIO(bundle[name])
            archive.addfile(_plain(member, name, epoch), content)
        pem = b"".join(text.rstrip() + b"\n" for _, text in sorted(bundle.items()))
        made = {name: text.encode() for name, text in FILES.items()} | ({BUNDLE: pem} if pem else {})
        for name, text in sorted(made.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(text), 0o644, epoch
            archive.addfile(member, io.BytesIO(text))
        for name, mode in (("root", 0o700), ("tmp", 0o1777), ("run", 0o755), ("proc", 0o555), ("sys", 0o555)):
            if name not in written:
                member = tarfile.TarInfo(name)
                member.type, member.mode, member.mtime = tarfile.DIRTYPE, mode, epoch
                archive.addfile(member)
    return Rootfs(python, len(bundle))


def _plain(member: tarfile.TarInfo, name: str, epoch: int) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(name)
    plain.type, plain.mode, plain.size = member.type, member.mode, member.size
    plain.uid, plain.gid = member.uid, member.gid
    plain.linkname = member.linkname.removeprefix("./") if member.islnk() else member.linkname
    plain.mtime = min(int(member.mtime), epoch)
    return plain
