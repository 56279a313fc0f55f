"""Writes conda packages of both formats (CEP "The .conda file format", conda-build's tar.bz2)."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLACEHOLDER = "/placehold_placehold_" * 12
"""The prefix that packages say they were built in."""
BLOCK = 128 * 1024


@dataclass(frozen=True)
class Package:
    """A package to be written."""

    name: str
    version: str = "1.0"
    build: str = "0"
    subdir: str = "linux-64"
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    """By their path; a path as value is copied, with its mode."""
    links: Mapping[str, str] = field(default_factory=dict)
    programs: Sequence[str] = ()
    """Files that can be run."""
    depends: Sequence[str] = ()
    entry_points: Sequence[str] = ()
    archive: str = ".conda"

    def write(self, channel: Path) -> Path:
        """Writes it into its folder of a channel, which is to be indexed afterwards."""
        stem = f"{self.name}-{self.version}-{self.build}"
        folder = channel / self.subdir
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{stem}{self.archive}"
        content, information = self._content(), self._information()
        if self.archive == ".tar.bz2":
            with tarfile.open(file, "w:bz2", compresslevel=1) as archive:
                for info, data in [*information, *content]:
                    archive.addfile(info, io.BytesIO(data))
            return file
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("metadata.json"), '{"conda_pkg_format_version": 2}')
            archive.writestr(zipfile.ZipInfo(f"pkg-{stem}.tar.zst"), _stored(_tar(content)))
            archive.writestr(zipfile.ZipInfo(f"info-{stem}.tar.zst"), _stored(_tar(information)))
        return file

    def _content(self) -> list[tuple[tarfile.TarInfo, bytes]]:
        content = []
        for name, source in sorted(self.files.items()):
            data = source.read_bytes() if isinstance(source, Path) else source
            runs = name in self.programs or (isinstance(source, Path) and bool(source.stat().st_mode & 0o100))
            content.append((_info(name, len(data), 0o755 if runs else 0o644), data))
        for name, target in sorted(self.links.items()):
            info = _info(name, 0, 0o777)
            info.type, info.linkname = tarfile.SYMTYPE, target
            content.append((info, b""))
        return content

    def _information(self) -> list[tuple[tarfile.TarInfo, bytes]]:
        noarch = {"noarch": "python"} if self.subdir == "noarch" else {}
        index = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "subdir": self.subdir,
            "timestamp": 1_700_000_000_000,
        }
        paths = []
        for info, data in self._content():
            linked = info.type == tarfile.SYMTYPE
            entry: dict[str, Any] = {
                "_path": info.name,
                "path_type": "softlink" if linked else "hardlink",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_in_bytes": len(data),
            }
            if PLACEHOLDER.encode() in data:
                entry |= {"file_mode": "binary" if b"\0" in data else "text", "prefix_placeholder": PLACEHOLDER}
            paths.append(entry)
        documents: dict[str, Any] = {"index.json": index | noarch, "paths.json": {"paths": paths, "paths_version": 1}}
        if noarch:
            link = {"noarch": {"type": "python", "entry_points": list(self.entry_points)}}
            documents["link.json"] = link | {"package_metadata_version": 1}
        written = {name: json.dumps(document).encode() for name, document in documents.items()}
        return [(_info(f"info/{name}", len(data), 0o644), data) for name, data in written.items()]


def python_package(
    name: str, version: str, modules: Mapping[str, str], depends: Sequence[str] = (), **more: Any
) -> Package:
    """A package of pure Python for every platform."""
    files = {f"site-packages/{file}": text.encode() for file, text in modules.items()}
    about = f"site-packages/{name.replace('-', '_')}-{version}.dist-info"
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    return Package(name, version, "pyh_0", "noarch", files=files, depends=["python >=3.8", *depends], **more)


def _info(name: str, size: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    return info


def _tar(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _stored(data: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878, sections 3.1.1.1 and 3.1.1.2): Python 3.11 cannot compress any."""
    parts = [b"\x28\xb5\x2f\xfd\xe0", struct.pack("<Q", len(data))]
    starts = range(0, max(len(data), 1), BLOCK)
    for start in starts:
        block = data[start : start + BLOCK]
        parts += [struct.pack("<I", len(block) << 3 | (start == starts[-1]))[:3], block]
    return b"".join(parts)
