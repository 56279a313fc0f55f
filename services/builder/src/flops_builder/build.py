"""One build from its beginning to its end. Needs no bus: whoever calls it gives a `Report`."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec
from flops_registry.base import open_base
from flops_registry.failures import out_of_space
from flops_registry.names import repository_slug
from flops_registry.opening import open_registry

from flops_builder.adapters.engine_build import find_engine
from flops_builder.adapters.worker import WorkerSmokeTester
from flops_builder.engine.interface import Engine
from flops_builder.history import History
from flops_builder.image.environment import prune
from flops_builder.image.layer import LayerCache
from flops_builder.job import Job
from flops_builder.outcome import Outcome
from flops_builder.report import Meter, Report
from flops_builder.settings import BuilderSettings
from flops_builder.smoke import SmokeTester

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
    history, platforms = History(settings.cache_dir / "history"), len(set(spec.sla.supported_platforms))
    meter = Meter(report, await anyio.to_thread.run_sync(history.expected, "new", platforms))
    try:
        with anyio.fail_after(command.deadline_seconds):
            async with open_registry(command.registry, settings.access, settings.blob_book, settings.uses) as registry:
                found = await registry.find(repository_slug(spec.repository_url), command.source_key)
                if found is not None:
                    meter.finish("the images are there already")
                    return Outcome(found, seconds=meter.seconds)
                work = settings.cache_dir / "work" / uuid7()
                try:
                    await anyio.to_thread.run_sync(_tidy, settings)
                    await anyio.Path(work).mkdir(parents=True)
                    packer = settings.packer if registry.compressed else replace(settings.packer, compression=None)
                    tester = smoke_tester or WorkerSmokeTester()
                    base = command.base_image or settings.base_image
                    async with open_base(base, spec.sla.supported_platforms, settings.access, work / "base") as bases:
                        job = Job(spec, command, settings, meter, registry, work, tester, packer, bases, history)
                        job.engine = engine_for(settings)
                        return await job.run()
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(lambda: shutil.rmtree(work, ignore_errors=True))
    except TimeoutError as error:
        raise FlopsError("FLOPS-B043", f"{command.deadline_seconds:.0f} s were given") from error
    except OSError as error:
        raise from_os(error) from error


def engine_for(settings: BuilderSettings) -> Engine | None:
    """The container engine that builds may use; None: there is none, or none is to be used."""
    return find_engine(settings.engine) if settings.engine_builds else None


def _tidy(settings: BuilderSettings) -> None:
    """Removes from the cache what nobody needs any more."""
    cache = settings.cache_dir
    settings.packer.prune()
    settings.blob_book.prune()
    LayerCache(cache / "layers").prune()
    prune(cache / "environments")
    for work in (cache / "work").glob("*"):
        if time.time() - work.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


def from_os(error: OSError) -> Exception:
    """The error that a person can act on: FLOPS-B040 for a full disk, else the one that it was."""
    return (
        FlopsError("FLOPS-B040", f"{error.filename or 'writing'}: {error.strerror}") if out_of_space(error) else error
    )
