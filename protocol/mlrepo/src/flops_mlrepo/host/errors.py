"""What a caller of the worker has to expect."""

from __future__ import annotations

from flops_mlrepo.contract import WorkerFault


class WorkerError(Exception):
    """Raised when the worker could not do what was asked."""

    kind: WorkerFault
    """Why."""
    detail: str
    """What exactly, for people."""
    file: str | None
    """The user's file, relative to the code folder, where one is to blame."""
    line: int | None
    """The line in it, from 1."""
    trace: str
    """The Python traceback, or what is known of one; may be empty."""

    def __init__(
        self, kind: WorkerFault, detail: str, file: str | None = None, line: int | None = None, trace: str = ""
    ) -> None:
        place = "" if file is None else f"{file}:{line or 1}: "
        super().__init__(f"{place}{detail}")
        self.kind, self.detail, self.file, self.line, self.trace = kind, detail, file, line, trace


SMOKE_CODES: dict[WorkerFault, str] = {
    WorkerFault.SYNTAX: "FLOPS-B011",
    WorkerFault.IMPORT: "FLOPS-B030",
    WorkerFault.MISSING: "FLOPS-B012",
    WorkerFault.EXCEPTION: "FLOPS-B030",
    WorkerFault.DATA_NOT_HERE: "FLOPS-B030",
    WorkerFault.NO_ROWS: "FLOPS-B030",
    WorkerFault.DATA_UNREADABLE: "FLOPS-B030",
    WorkerFault.DATA_REFUSED: "FLOPS-B030",
    WorkerFault.FIT_RESULT: "FLOPS-B030",
    WorkerFault.EVALUATE_RESULT: "FLOPS-B030",
    WorkerFault.PARAMETERS_TYPE: "FLOPS-B031",
    WorkerFault.PARAMETERS_CHANGED: "FLOPS-B032",
    WorkerFault.NOT_FINITE: "FLOPS-B030",
    WorkerFault.SAVE: "FLOPS-T016",
    WorkerFault.MEMORY: "FLOPS-B035",
    WorkerFault.TIMED_OUT: "FLOPS-B033",
    WorkerFault.EXITED: "FLOPS-B034",
    WorkerFault.CRASHED: "FLOPS-B034",
    WorkerFault.PROTOCOL: "FLOPS-B034",
    WorkerFault.NOT_STARTED: "FLOPS-B030",
}
"""The mesh's error code of each fault while an image is built."""

TRAINING_CODES: dict[WorkerFault, str] = {
    WorkerFault.SYNTAX: "FLOPS-B011",
    WorkerFault.IMPORT: "FLOPS-T007",
    WorkerFault.MISSING: "FLOPS-B012",
    WorkerFault.EXCEPTION: "FLOPS-T007",
    WorkerFault.DATA_NOT_HERE: "FLOPS-T007",
    WorkerFault.NO_ROWS: "FLOPS-T002",
    WorkerFault.DATA_UNREADABLE: "FLOPS-T001",
    WorkerFault.DATA_REFUSED: "FLOPS-T001",
    WorkerFault.FIT_RESULT: "FLOPS-T003",
    WorkerFault.EVALUATE_RESULT: "FLOPS-T004",
    WorkerFault.PARAMETERS_TYPE: "FLOPS-B031",
    WorkerFault.PARAMETERS_CHANGED: "FLOPS-T005",
    WorkerFault.NOT_FINITE: "FLOPS-T006",
    WorkerFault.SAVE: "FLOPS-T016",
    WorkerFault.MEMORY: "FLOPS-T010",
    WorkerFault.TIMED_OUT: "FLOPS-T008",
    WorkerFault.EXITED: "FLOPS-T009",
    WorkerFault.CRASHED: "FLOPS-T009",
    WorkerFault.PROTOCOL: "FLOPS-T009",
    WorkerFault.NOT_STARTED: "FLOPS-D004",
}
"""The mesh's error code of each fault in a learner or aggregator."""
