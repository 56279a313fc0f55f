"""Exit codes: what a script may build on. docs/cli.md lists them."""

from __future__ import annotations

from enum import IntEnum

from flops_protocol.errors import ErrorBody
from flops_protocol.messages.project import ProjectStage


class ExitCode(IntEnum):
    """What `flops` ends with."""

    OK = 0
    FAILED = 1
    """The project failed, a mistake was found, or the mesh refused."""
    USAGE = 2
    """The command line is wrong, or a file that it names cannot be read."""
    UNREACHABLE = 3
    """There is no mesh to talk to."""
    TIMEOUT = 4
    """The mesh did not answer in time, or `--timeout` is over."""
    CANCELLED = 5
    """The project was cancelled."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells have it."""


_BY_ERROR = {
    "FLOPS-P006": ExitCode.UNREACHABLE,
    "FLOPS-P008": ExitCode.TIMEOUT,
    "FLOPS-P011": ExitCode.UNREACHABLE,
}
_BY_STAGE = {
    ProjectStage.COMPLETED: ExitCode.OK,
    ProjectStage.FAILED: ExitCode.FAILED,
    ProjectStage.CANCELLED: ExitCode.CANCELLED,
}


def of_error(error: ErrorBody) -> ExitCode:
    """The exit code that an error ends a command with."""
    return _BY_ERROR.get(error.code, ExitCode.FAILED)


def of_stage(stage: ProjectStage) -> ExitCode:
    """The exit code that a project's end means to whoever waited for it."""
    return _BY_STAGE[stage]
