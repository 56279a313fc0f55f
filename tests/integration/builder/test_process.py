"""Programs that the builder calls are never left behind."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import anyio
import pytest
from flops_builder.process import run


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def alive(pid_file: Path) -> list[str]:
    """Which of the programs that have said their number are there."""
    return [pid for pid in pid_file.read_text().split() if Path("/proc", pid, "cmdline").exists()]


async def test_a_call_that_is_cancelled_at_any_moment_leaves_nothing(tmp_path):
    """asyncio itself forgets a pipe when it is cancelled between starting a program and connecting to it."""
    pid_file = tmp_path / "pids"
    command = ["sh", "-c", f"echo $$ >> {pid_file}; sleep 30"]
    with pytest.raises(TimeoutError):
        await run(command, environment={"PATH": os.environ["PATH"]}, folder=tmp_path, seconds=0.1)
    before = descriptors()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for number in range(60):
            with anyio.move_on_after(number * 0.0002):
                await run(command, environment={"PATH": os.environ["PATH"]}, folder=tmp_path, seconds=20)
        gc.collect()
    assert not [each for each in caught if issubclass(each.category, ResourceWarning)]
    assert descriptors() == before
    assert not alive(pid_file)
