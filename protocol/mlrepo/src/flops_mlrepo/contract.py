"""What host and guest agree on: the operations, the faults, and what a repository must offer."""

from __future__ import annotations

from enum import Enum

MODEL_MODULE = "model_manager"
MODEL_CLASS = "ModelManager"
MODEL_METHODS = (
    "set_model_data",
    "get_model",
    "get_model_parameters",
    "set_model_parameters",
    "fit_model",
    "evaluate_model",
)
"""Every method that `ModelManager` must have; none of them takes arguments but `set_model_parameters`."""
FIT_CONFIG_METHOD = "set_fit_config"
"""May be there: called before `fit_model` with what the strategy tells learners, such as FedProx's `proximal-mu`."""
OLDER_NAMES = {"set_model_data": "prepare_data"}
"""What a method was called in FLOps before; a class that has only this one is taken as well."""


class Operation(str, Enum):
    """What the host can ask of the worker."""

    CONSTRUCT = "construct"
    LOAD_DATA = "load-data"
    GET_PARAMETERS = "get-parameters"
    SET_PARAMETERS = "set-parameters"
    FIT = "fit"
    EVALUATE = "evaluate"
    TRAIN = "train"
    SMOKE = "smoke"
    REHEARSE_SAVING = "rehearse-saving"
    SAVE_MODEL = "save-model"


class WorkerFault(str, Enum):
    """Why the worker could not do what was asked. Whose matter it is, is in the name of each."""

    SYNTAX = "syntax"
    """A file of the code is no Python."""
    IMPORT = "import"
    """The code imports what its environment does not have."""
    MISSING = "missing"
    """The code lacks a module, class or method of the contract."""
    EXCEPTION = "exception"
    """The code raised an exception."""
    DATA_NOT_HERE = "data-not-here"
    """The code asked for data where there is none: outside a learner, or before set_model_data()."""
    NO_ROWS = "no-rows"
    """There is data here, but no row of it has the tags, or none is left for this part."""
    DATA_UNREADABLE = "data-unreadable"
    """A data file is no Parquet, or the files do not fit together."""
    DATA_REFUSED = "data-refused"
    """set_model_data() failed on the data that it was given."""
    FIT_RESULT = "fit-result"
    """fit_model() returned something else than a count above 0."""
    EVALUATE_RESULT = "evaluate-result"
    """evaluate_model() returned something else than (loss, accuracy, count)."""
    PARAMETERS_TYPE = "parameters-type"
    """get_model_parameters() returned something else than a list of numeric arrays."""
    PARAMETERS_CHANGED = "parameters-changed"
    """The parameters' number, shapes, dtypes or values changed where they must not."""
    NOT_FINITE = "not-finite"
    """A loss, an accuracy or a parameter is NaN or infinite."""
    SAVE = "save"
    """The model could not be saved by its MLflow flavor."""
    MEMORY = "memory"
    """The code took more memory than it may."""
    TIMED_OUT = "timed-out"
    """The code did not answer in time and was killed."""
    EXITED = "exited"
    """The code ended its process."""
    CRASHED = "crashed"
    """A signal ended the process, such as a segmentation fault."""
    PROTOCOL = "protocol"
    """What came through the worker's socket is no answer: the code wrote to it, or closed it."""
    NOT_STARTED = "not-started"
    """The worker did not come up: no interpreter, or its environment lacks NumPy."""
