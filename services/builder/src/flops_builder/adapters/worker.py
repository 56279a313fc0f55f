"""Smoke rounds in the ML worker of `flops_mlrepo`."""

from __future__ import annotations

from collections.abc import Callable

from flops_mlrepo.host import SMOKE_CODES, WorkerError, WorkerSettings, open_worker
from flops_protocol.errors import FlopsError

from flops_builder.smoke import Smoked, SmokeRound

START_SECONDS = 30.0


class WorkerSmokeTester:
    """Starts the very worker that runs in aggregator and learner."""

    async def run(self, smoke: SmokeRound, on_line: Callable[[str], None]) -> Smoked:
        """See `SmokeTester.run`."""
        settings = WorkerSettings(
            python=str(smoke.python),
            mlenv=smoke.environment,
            code=smoke.code,
            memory_bytes=smoke.memory_bytes,
            scratch=smoke.scratch,
            network=False,
            prefix=smoke.prefix,
        )
        try:
            async with open_worker(settings, lambda _, line: on_line(line), START_SECONDS) as worker:
                return Smoked(await worker.smoke(smoke.seconds), worker.in_network)
        except WorkerError as error:
            for line in error.trace.splitlines()[-20:]:
                on_line(line)
            raise FlopsError(SMOKE_CODES[error.kind], error.detail, file=error.file, line=error.line) from error
