"""What went wrong in the code, with the user's file and line."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

from flops_mlrepo.contract import MODEL_MODULE, WorkerFault
from flops_mlrepo.data import DataError

_MAX_DETAIL = 2000
_MAX_TRACE = 6000


class FaultError(Exception):
    """Raised when the code does not keep to the contract. Travels to the host as it is."""

    def __init__(
        self,
        kind: WorkerFault,
        detail: str,
        file: str | None = None,
        line: int | None = None,
        trace: str = "",
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.file, self.line, self.trace = kind, detail, file, line, trace

    def document(self) -> dict[str, Any]:
        """The fault for the head of a frame."""
        return {
            "kind": self.kind.value,
            "detail": self.detail[:_MAX_DETAIL],
            "file": self.file,
            "line": self.line,
            "trace": self.trace[-_MAX_TRACE:],
        }


def fault_from(error: BaseException, code: str, kind: WorkerFault) -> FaultError:
    """The fault that an exception out of the code stands for; `kind` where its type says nothing more precise."""
    if isinstance(error, FaultError):
        return error
    file, line = _place(error, code)
    return FaultError(_kind(error, kind), _sentence(error), file, line, _trace(error))


def _kind(error: BaseException, kind: WorkerFault) -> WorkerFault:
    if isinstance(error, DataError):
        return error.fault
    if isinstance(error, SyntaxError):
        return WorkerFault.SYNTAX
    if isinstance(error, ModuleNotFoundError) and error.name == MODEL_MODULE:
        return WorkerFault.MISSING
    if isinstance(error, ImportError):
        return WorkerFault.IMPORT
    # PyTorch says it in a RuntimeError of its own.
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return WorkerFault.MEMORY
    if isinstance(error, SystemExit):
        return WorkerFault.EXITED
    return kind


def _sentence(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "the code called sys.exit({})".format("" if error.code is None else repr(error.code))
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, code: str) -> tuple[str | None, int | None]:
    """The innermost line of the user's own code; of what caused the error first, where it has causes."""
    seen = set()
    chain = []
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    for link in chain:
        if isinstance(link, SyntaxError) and link.filename:
            file = relative(link.filename, code)
            if file is not None:
                return file, link.lineno
        for frame in reversed(traceback.extract_tb(link.__traceback__)):
            file = relative(frame.filename, code)
            if file is not None:
                return file, frame.lineno
    return None, None


def relative(path: str, code: str) -> str | None:
    """The path within the code folder, with `/`; None when it is not in there."""
    if not Path(path).is_absolute():
        # No file of the code, which is on the path absolutely: a frozen module, text for exec(), compiled code.
        return None
    real, root = os.path.realpath(path), os.path.realpath(code)
    return os.path.relpath(real, root).replace(os.sep, "/") if real.startswith(root + os.sep) else None


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-30))
    except Exception:
        return _sentence(error)
