"""Programs that the builder calls: git, uv, and Python of another minor."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process
from flops_protocol.errors import FlopsError

NO_SPACE = re.compile(
    r"no space left on device|disk quota exceeded|file too large|os error (?:27|28|122)", re.IGNORECASE
)
KEEP_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Finished:
    """How a program ended, and what it printed (the last 8 MiB of each stream)."""

    returncode: int
    output: str
    errors: str


async def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path,
    seconds: float,
    stdin: bytes = b"",
    on_error_line: Callable[[str], None] | None = None,
    output_file: Path | None = None,
) -> Finished:
    """Runs a program to its end; cancellation kills it. `on_error_line` gets what it prints to stderr, as it comes.

    With `output_file`, all that it prints to stdout goes there.

    :raises TimeoutError: when it takes longer than `seconds`; it has been killed then
    :raises FlopsError: FLOPS-B040 when it failed for want of disk space
    """
    with anyio.fail_after(seconds), contextlib.ExitStack() as files:
        with anyio.CancelScope(shield=True):
            # asyncio forgets the pipes of a program whose start is cancelled.
            started = await anyio.open_process(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=files.enter_context(output_file.open("wb")) if output_file else subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        async with started as process:
            try:
                finished = await _talk(process, stdin, on_error_line)
            except BaseException:
                # With all that it has started: git fetches through ssh and other programs.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    if finished.returncode != 0 and NO_SPACE.search(finished.errors):
        raise FlopsError("FLOPS-B040", finished.errors.strip().splitlines()[-1][:500])
    if finished.returncode == -signal.SIGXFSZ:
        raise FlopsError("FLOPS-B040", f"{Path(command[0]).name} wrote a file that is bigger than this machine allows")
    return finished


async def _talk(process: Process, stdin: bytes, on_error_line: Callable[[str], None] | None) -> Finished:
    texts = {"output": "", "errors": ""}

    async def read(name: str, stream: ByteReceiveStream | None, on_line: Callable[[str], None] | None) -> None:
        if stream is None:
            return
        kept, line = b"", b""
        async for chunk in stream:
            kept = (kept + chunk)[-KEEP_BYTES:]
            # git draws its progress over one line, with carriage returns.
            *lines, line = re.split(rb"[\r\n]", line + chunk)
            if on_line is not None:
                for whole in lines:
                    on_line(whole.decode(errors="replace"))
        texts[name] = kept.decode(errors="replace")

    async def write() -> None:
        if process.stdin is not None:
            try:
                if stdin:
                    await process.stdin.send(stdin)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # it ended without reading: its exit code and stderr say why
            finally:
                await process.stdin.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        group.start_soon(read, "output", process.stdout, None)
        group.start_soon(read, "errors", process.stderr, on_error_line)
    returncode = await process.wait()
    return Finished(returncode, texts["output"], texts["errors"])
