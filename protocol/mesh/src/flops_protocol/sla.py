"""The project SLA: what a person asks for.

Every key of FLOps's manual is taken as it is ("Project SLAs" of the FLOps add-on's documentation); ours on top are
`ml_repo_ref`, `ml_repo_subdir`, `strategy`, `deadlines`, `federation` and `submit_token`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Platform = Literal["linux/amd64", "linux/arm64"]

MEGABYTE = 1_000_000
LEAST_MEMORY = 1024
"""MB. FLOps's manual asks for 100, which FLOps never enforced: Python with scikit-learn and `datasets` takes 150, with
TensorFlow 600, before it has read a row."""


class ModelFlavor(StrEnum):
    """Which MLflow flavor saves and loads the model."""

    SKLEARN = "sklearn"
    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"
    KERAS = "keras"


class PostTrainingStep(StrEnum):
    """What may follow the training."""

    BUILD_IMAGE = "build_image_for_trained_model"
    DEPLOY_IMAGE = "deploy_trained_model_image"


class Section(BaseModel):
    """A part of the SLA: nothing but what is known, and no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


class TrainingConfiguration(Section):
    """How to train. Clients are learners."""

    mode: Literal["classic", "hierarchical"] = "classic"
    data_tags: list[str] = Field(default=[], max_length=32)
    training_cycles: int = Field(default=1, ge=1, le=10_000)
    training_rounds: int = Field(default=3, ge=1, le=100_000)
    min_available_clients: int = Field(default=1, ge=1, le=1000)
    min_fit_clients: int = Field(default=1, ge=1, le=1000)
    min_evaluate_clients: int = Field(default=1, ge=1, le=1000)


class ResourceConstraints(Section):
    """What one actor may take; None: what the node has."""

    memory: int | None = Field(default=None, ge=1, description="MB")
    vcpus: int | None = Field(default=None, ge=1)
    storage: int | None = Field(default=None, ge=0, description="MB")

    @property
    def memory_limit_bytes(self) -> int | None:
        """Over this the code is ended; None: there is no limit but the node's."""
        return None if self.memory is None else max(self.memory, LEAST_MEMORY) * MEGABYTE


STRATEGIES = (
    "FedAvg",
    "FedAvgM",
    "FedAdam",
    "FedAdagrad",
    "FedYogi",
    "FedProx",
    "FedMedian",
    "FedTrimmedAvg",
    "QFedAvg",
    "Krum",
    "MultiKrum",
    "Bulyan",
)
"""The strategies that can be asked for. A name is text in the schema, so that a new one breaks no old reader."""


class Strategy(Section):
    """Flower's strategy by its class name, with its keyword arguments."""

    name: str = "FedAvg"
    arguments: dict[str, Any] = {}


class Deadlines(Section):
    """Seconds that each stage may take at most; `round` is one round of training and evaluation."""

    resolving: float = Field(default=60, gt=0, le=86_400)
    building: float = Field(default=1800, gt=0, le=86_400)
    deploying: float = Field(default=300, gt=0, le=86_400)
    training: float = Field(default=86_400, gt=0, le=2_592_000)
    round: float = Field(default=600, gt=0, le=604_800)
    tracking: float = Field(default=120, ge=0, le=86_400)


class Sla(Section):
    """The project SLA."""

    ml_repo_url: str = Field(min_length=1, max_length=2000)
    ml_model_flavor: ModelFlavor
    customer_id: str = Field(
        default="Admin", validation_alias=AliasChoices("customerID", "customer_id"), serialization_alias="customerID"
    )
    verbose: bool = False
    use_devel_base_images: bool = False
    supported_platforms: list[Platform] = Field(default=["linux/amd64"], min_length=1)
    training_configuration: TrainingConfiguration = TrainingConfiguration()
    post_training_steps: list[PostTrainingStep] = []
    resource_constraints: ResourceConstraints = ResourceConstraints()
    ml_repo_ref: str | None = Field(default=None, min_length=1, max_length=255)
    ml_repo_subdir: str | None = Field(default=None, min_length=1, max_length=500)
    strategy: Strategy = Strategy()
    deadlines: Deadlines = Deadlines()
    federation: Literal["stream", "superlink"] = "stream"
    submit_token: str | None = Field(default=None, min_length=1, max_length=200)
