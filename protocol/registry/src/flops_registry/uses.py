"""When an image was used last: looked up and found, or pushed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flops_protocol.identifiers import Digest


@dataclass(frozen=True)
class UseBook:
    """A folder with an empty file for each image key, whose time is that of the last use."""

    folder: Path

    def note(self, image_key: Digest) -> None:
        """It is used now. What cannot be written is not remembered."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file(image_key).touch()

    def last(self, image_key: Digest) -> datetime | None:
        """When it was used last; None when that is not known."""
        try:
            return datetime.fromtimestamp(self._file(image_key).stat().st_mtime, UTC)
        except OSError:
            return None

    def forget(self, image_key: Digest) -> None:
        """There is no such image any more."""
        with contextlib.suppress(OSError):
            self._file(image_key).unlink()

    def _file(self, image_key: Digest) -> Path:
        return self.folder / image_key.removeprefix("sha256:")
