"""Remembers which repository of a registry has a blob, so that another one can take it over without an upload."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from flops_protocol.identifiers import Digest, uuid7

KEEP_SECONDS = 30 * 86_400.0


@dataclass(frozen=True)
class BlobBook:
    """A folder with one small file a blob. It may be wrong, and be deleted: then a blob is uploaded once more."""

    folder: Path

    def of(self, registry: str) -> BlobBook:
        """The part about one registry."""
        return BlobBook(self.folder / hashlib.sha256(registry.encode()).hexdigest()[:16])

    def where(self, digest: Digest) -> str | None:
        """The repository that had the blob last."""
        try:
            return self._file(digest).read_text() or None
        except OSError:
            return None

    def note(self, digest: Digest, repository: str) -> None:
        """Remembers that it has it. What cannot be written is not remembered."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            new = self.folder / f".{uuid7()}"
            new.write_text(repository)
            new.replace(self._file(digest))

    def prune(self) -> None:
        """Forgets what was not noted for a month."""
        now = time.time()
        for file in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > KEEP_SECONDS:
                    file.unlink()

    def _file(self, digest: Digest) -> Path:
        return self.folder / digest.removeprefix("sha256:")
