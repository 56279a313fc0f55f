"""One build from its beginning to its end. Needs no bus: whoever calls it gives a `Report`."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec

from flops_builder.adapters.worker import WorkerSmokeTester
from flops_builder.image.layout import LayoutRegistry
from flops_builder.image.registry import Registry, repository_missing
from flops_builder.job import Job
from flops_builder.outcome import Outcome
from flops_builder.process import out_of_space
from flops_builder.report import Meter, Report
from flops_builder.settings import BuilderSettings
from flops_builder.smoke import SmokeTester


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
    meter = Meter(report, expected_seconds=10.0)
    try:
        with anyio.fail_after(command.deadline_seconds):
            found = await registry.find(command.source_key)
            if found is not None:
                meter.finish("the images are there already")
                return Outcome(found, seconds=meter.seconds)
            work = settings.cache_dir / "work" / uuid7()
            try:
                await anyio.Path(work).mkdir(parents=True)
                job = Job(spec, command, settings, meter, registry, work, smoke_tester or WorkerSmokeTester())
                return await job.run()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(work, ignore_errors=True))
    except TimeoutError as error:
        raise FlopsError("FLOPS-B043", f"{command.deadline_seconds:.0f} s were given") from error
    except OSError as error:
        raise _from_os(error) from error


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
