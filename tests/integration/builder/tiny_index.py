"""A package index in a folder (PEP 503), of wheels that have nothing in them but what they ask for."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass
class TinyIndex:
    """Its folder; `url` is what an installer is told."""

    folder: Path

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def add(
        self, name: str, version: str, *requires: str, yanked: str | None = None, tag: str = "py3-none-any"
    ) -> None:
        """Adds a release; `yanked`: why it was taken back."""
        file = f"{name.replace('-', '_')}-{version}-{tag}.whl"
        page = self.folder / name
        page.mkdir(parents=True, exist_ok=True)
        wanted = "".join(f"Requires-Dist: {each}\n" for each in requires)
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        with zipfile.ZipFile(page / file, "w") as wheel:
            wheel.writestr(f"{name.replace('-', '_')}.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}")
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256((page / file).read_bytes()).hexdigest()
        mark = "" if yanked is None else f' data-yanked="{yanked}"'
        with (page / "index.html").open("a") as listing:
            listing.write(f'<a href="{file}#sha256={digest}"{mark}>{file}</a>\n')
