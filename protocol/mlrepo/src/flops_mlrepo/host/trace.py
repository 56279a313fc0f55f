"""Where the code was when it hung or crashed, as `faulthandler` wrote it down."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import IO

import anyio

DUMP_SIGNAL = signal.SIGRTMIN + 7
"""The signal on which the worker writes its traceback, as registered in `worker.py`."""

_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in ')
_MAX_BYTES = 65_536


class Trace:
    """The file that the worker's tracebacks go to."""

    def __init__(self, file: IO[bytes], code: Path) -> None:
        self._file = file
        self._code = code.resolve()

    @property
    def fd(self) -> int:
        """The descriptor to hand to the worker."""
        return self._file.fileno()

    def text(self) -> str:
        """What was written so far."""
        return os.pread(self.fd, _MAX_BYTES, 0).decode("utf-8", "replace")

    async def dump(self, pid: int) -> None:
        """Asks a live worker for its traceback, and waits at most a second for it."""
        try:
            os.kill(pid, DUMP_SIGNAL)
        except ProcessLookupError:
            return
        seen = ""
        with anyio.move_on_after(1):
            while not seen or seen != self.text():
                seen = self.text()
                await anyio.sleep(0.02)

    def place(self) -> tuple[str | None, int | None]:
        """The innermost line of the user's code, in the thread that was running if it was in there."""
        for section in sorted(self.text().split("\n\n"), key=lambda text: "Current thread" not in text):
            for line in section.splitlines():
                match = _FRAME.match(line)
                if match and Path(match["file"]).resolve().is_relative_to(self._code):
                    file = Path(match["file"]).resolve().relative_to(self._code)
                    return file.as_posix(), int(match["line"])
        return None, None
