"""One build from its beginning to its end. Needs no bus: whoever calls it gives a `Report`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec

from flops_builder.adapters.engine_build import find_engine
from flops_builder.adapters.worker import WorkerSmokeTester
from flops_builder.image.environment import prune
from flops_builder.image.layer import LayerCache
from flops_builder.image.layout import LayoutRegistry
from flops_builder.image.registry import Registry, repository_missing
from flops_builder.job import Job
from flops_builder.outcome import Outcome
from flops_builder.process import out_of_space
from flops_builder.report import Meter, Report
from flops_builder.settings import BuilderSettings
from flops_builder.smoke import SmokeTester

FIRST_SECONDS = 15.0
"""What the first build on a machine is expected to take."""
ABANDONED_SECONDS = 2 * 86_400.0
"""No build takes longer: its deadline is a day at most."""


async def build(
    spec: ProjectSpec,
    command: BuildCommand,
    settings: BuilderSettings,
    report: Report,
    smoke_tester: SmokeTester | None = None,
) -> Outcome:
    """Builds the images of a project, or finds them in the registry, and leaves nothing half-done behind.

    :raises FlopsError: FLOPS-B001 to FLOPS-B043; the first one, where several things went wrong at once
    """
    registry = open_registry(command.registry)
    history = settings.cache_dir / "seconds"
    meter = Meter(report, await anyio.to_thread.run_sync(_expected, history))
    try:
        with anyio.fail_after(command.deadline_seconds):
            found = await registry.find(command.source_key)
            if found is not None:
                meter.finish("the images are there already")
                return Outcome(found, seconds=meter.seconds)
            work = settings.cache_dir / "work" / uuid7()
            try:
                await anyio.to_thread.run_sync(_tidy, settings.cache_dir)
                await anyio.Path(work).mkdir(parents=True)
                job = Job(spec, command, settings, meter, registry, work, smoke_tester or WorkerSmokeTester())
                job.engine = find_engine(settings.engine)
                outcome = await job.run()
                await anyio.Path(history).write_text(f"{outcome.seconds:.1f}")
                return outcome
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(work, ignore_errors=True))
    except TimeoutError as error:
        raise FlopsError("FLOPS-B043", f"{command.deadline_seconds:.0f} s were given") from error
    except OSError as error:
        raise _from_os(error) from error


def _expected(history: Path) -> float:
    """How long the last build on this machine took."""
    try:
        return float(history.read_text())
    except (FileNotFoundError, ValueError):
        return FIRST_SECONDS


def _tidy(cache: Path) -> None:
    """Removes from the cache what nobody needs any more."""
    LayerCache(cache / "layers").prune()
    prune(cache / "environments")
    for work in (cache / "work").glob("*"):
        if time.time() - work.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


def open_registry(reference: str) -> Registry:
    """The registry that images go to.

    :raises FlopsError: FLOPS-B041 when it is of a kind that is not known
    """
    if reference.startswith("oci:/"):
        return LayoutRegistry(Path(reference.removeprefix("oci:")))
    raise repository_missing(reference)


def _from_os(error: OSError) -> Exception:
    return (
        FlopsError("FLOPS-B040", f"{error.filename or 'writing'}: {error.strerror}") if out_of_space(error) else error
    )
