"""What a repository's two classes have to offer. Deriving from these is possible, not required."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class DataManagerTemplate(ABC):
    """Prepares the learner's data for the model. Only the repository's own ModelManager uses it."""

    @abstractmethod
    def _prepare_data(self, *args: Any, **kwargs: Any) -> Any:
        """Loads the data with `load_dataset()` and brings it into the model's form."""

    @abstractmethod
    def get_data(self) -> tuple[Any, Any]:
        """The prepared data, for training and for evaluation."""


class ModelManagerTemplate(ABC):
    """The model with its training. Constructed without data: the aggregator has none."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes `prepare_data`, as it was called before, for `set_model_data`."""
        super().__init_subclass__(**kwargs)
        if "prepare_data" in cls.__dict__ and "set_model_data" not in cls.__dict__:
            # Before abc looks for what is still abstract.
            setattr(cls, "set_model_data", cls.__dict__["prepare_data"])  # noqa: B010

    @abstractmethod
    def set_model_data(self) -> None:
        """Takes the data from the DataManager. Called once, in learners only, after construction."""

    @abstractmethod
    def get_model(self) -> Any:
        """The library's model object, which MLflow saves."""

    @abstractmethod
    def get_model_parameters(self) -> Any:
        """The parameters as a list of NumPy arrays, of the same number, shapes and dtypes every time."""

    @abstractmethod
    def set_model_parameters(self, parameters: Any) -> None:
        """Sets parameters that look like those of :meth:`get_model_parameters`. The arrays are the model's to keep."""

    @abstractmethod
    def fit_model(self) -> int:
        """Trains for one round and returns the number of training samples."""

    @abstractmethod
    def evaluate_model(self) -> tuple[Any, Any, int]:
        """Evaluates and returns loss, accuracy and the number of samples."""
