"""The user's ModelManager, and every call to it."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Sequence

import numpy as np

from flops_mlrepo import data
from flops_mlrepo.contract import FIT_CONFIG_METHOD, MODEL_CLASS, MODEL_METHODS, MODEL_MODULE, OLDER_NAMES, WorkerFault
from flops_mlrepo.guest import checks
from flops_mlrepo.guest.faults import FaultError, fault_from, relative


class Model:
    """One ModelManager of the code, held to the contract. Any failure comes out as :class:`FaultError`."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._manager: Any = None
        self._kinds: checks.Kinds | None = None

    @property
    def manager(self) -> Any:
        """The user's object.

        :raises FaultError: MISSING, before :meth:`construct`
        """
        if self._manager is None:
            raise FaultError(WorkerFault.MISSING, "the ModelManager was not constructed yet")
        return self._manager

    def construct(self) -> None:
        """Imports the code and constructs its ModelManager, without data."""
        if self._manager is not None:
            return
        try:
            module = importlib.import_module(MODEL_MODULE)
        except BaseException as error:
            raise fault_from(error, self._code, WorkerFault.EXCEPTION) from None
        kind = getattr(module, MODEL_CLASS, None)
        if not inspect.isclass(kind):
            raise FaultError(WorkerFault.MISSING, f"there is no class {MODEL_CLASS}", self._file_of(module), None)
        absent = [name for name in MODEL_METHODS if _method_of(kind, name) is None]
        absent += sorted(getattr(kind, "__abstractmethods__", frozenset()) - set(absent))
        if absent:
            file, line = self._file_of(module), _line_of(kind)
            raise FaultError(WorkerFault.MISSING, "{} lacks {}".format(MODEL_CLASS, ", ".join(absent)), file, line)
        try:
            self._manager = kind()
        except BaseException as error:
            raise fault_from(error, self._code, WorkerFault.EXCEPTION) from None

    def load_data(self, source: data.Source | None) -> int | None:
        """set_model_data(); the rows that the code was given, None when it asked for none."""
        if source is not None:
            data.open_source(source)
        try:
            self._call("set_model_data", kind=WorkerFault.DATA_REFUSED)
        except FaultError as fault:
            columns = data.columns_offered()
            if fault.kind is WorkerFault.DATA_REFUSED and columns is not None:
                fault.detail = f"{fault.detail}; the {data.rows_offered()} rows given have the columns {columns}"
            raise
        return data.rows_offered()

    def parameters(self, after: str = "get_model_parameters") -> list[np.ndarray]:
        """get_model_parameters(), of the same number, shapes and dtypes as the first time.

        :param after: the method that was called before, which is to blame when they changed
        """
        value = self._call("get_model_parameters")
        arrays: list[np.ndarray] = self.checked("get_model_parameters", checks.parameter_arrays, value)
        if self._kinds is None:
            self._kinds = checks.kinds_of(arrays)
        else:
            self.checked(after, checks.require_same_kinds, arrays, self._kinds, f"after {after}()")
        return arrays

    def set_parameters(self, arrays: Sequence[np.ndarray]) -> None:
        """set_model_parameters() with arrays of the dtypes that the code itself gives.

        A strategy's averages are floats even for counters; the code gets its own dtypes back, rounded where whole.
        """
        if self._kinds is None:
            self.parameters()
        self._call("set_model_parameters", _as_kinds(arrays, self._kinds or []))

    def fit(self) -> int:
        """fit_model(); the number of training samples."""
        return int(self.checked("fit_model", checks.fit_count, self._call("fit_model")))

    def evaluate(self) -> tuple[float, float, int]:
        """evaluate_model(): loss, accuracy, number of samples."""
        loss, accuracy, count = self.checked("evaluate_model", checks.evaluation, self._call("evaluate_model"))
        return loss, accuracy, count

    def get_model(self) -> Any:
        """get_model(): the library's own object."""
        return self._call("get_model")

    def train(self, arrays: Sequence[np.ndarray], config: dict[str, Any]) -> tuple[list[np.ndarray], int]:
        """Sets the parameters, fits, and gives the new ones with the number of samples.

        :param config: what the strategy tells the code, if it wants to know
        """
        self.set_parameters(arrays)
        if callable(getattr(type(self.manager), FIT_CONFIG_METHOD, None)):
            self._call(FIT_CONFIG_METHOD, config)
        samples = self.fit()
        trained = self.parameters("fit_model")
        self.checked("fit_model", checks.require_finite, trained)
        return trained, samples

    def _call(self, method: str, *arguments: Any, kind: WorkerFault = WorkerFault.EXCEPTION) -> Any:
        manager = self.manager
        try:
            return getattr(manager, _method_of(type(manager), method) or method)(*arguments)
        except BaseException as error:
            raise fault_from(error, self._code, kind) from None

    def checked(self, method: str, check: Any, *arguments: Any) -> Any:
        """The check's result; its fault points to the method of the code that it is about."""
        try:
            return check(*arguments)
        except FaultError as fault:
            function = inspect.unwrap(getattr(type(self.manager), method))
            try:
                fault.file = relative(inspect.getsourcefile(function) or "", self._code)
                fault.line = None if fault.file is None else function.__code__.co_firstlineno
            except (TypeError, AttributeError):
                # A method that is no Python function has no line.
                fault.file = fault.line = None
            raise

    def _file_of(self, module: Any) -> str | None:
        return relative(getattr(module, "__file__", None) or "", self._code)


def _method_of(kind: type, name: str) -> str | None:
    """The method's name in this class, which may be an older one; None when it has none."""
    return next((each for each in (name, OLDER_NAMES.get(name, name)) if callable(getattr(kind, each, None))), None)


def _line_of(kind: type) -> int | None:
    try:
        return inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return None


def _as_kinds(arrays: Sequence[np.ndarray], kinds: checks.Kinds) -> list[np.ndarray]:
    came, needed = [array.shape for array in arrays], [shape for shape, _ in kinds]
    if came != needed:
        raise FaultError(
            WorkerFault.PARAMETERS_CHANGED,
            f"the parameters that came in have the shapes {checks.shown(came)} instead of {checks.shown(needed)}",
        )
    return [_as_dtype(array, dtype) for array, (_, dtype) in zip(arrays, kinds)]


def _as_dtype(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if array.dtype == dtype:
        return array
    if array.dtype.kind == "f" and dtype.kind in "iu":
        array = np.rint(array)
    return array.astype(dtype)
