"""Layer 4: MLflow's client, for the aggregator. On the path behind the ML environment, and only to save a model."""

from __future__ import annotations

from flops_protocol.sla import ModelFlavor

from flops_builder.resolve.lock import Lock

CLIENT_NAME = "mlflow-skinny"
CLIENT = f"{CLIENT_NAME}>=3.17,<4"
FLAVORS: dict[ModelFlavor, tuple[str, ...]] = {
    ModelFlavor.SKLEARN: ("pandas", "skops", "cloudpickle"),
    ModelFlavor.PYTORCH: ("pandas", "cloudpickle"),
    ModelFlavor.TENSORFLOW: ("pandas", "cloudpickle"),
    ModelFlavor.KERAS: ("pandas", "cloudpickle"),
}
"""What `save_model` of the flavor imports beside the flavor's own library, which the ML environment has."""


def tracking_requirements(flavor: ModelFlavor) -> tuple[str, ...]:
    """What is resolved, together with the versions that the ML environment has."""
    return (CLIENT, *FLAVORS[flavor])


def pins(lock: Lock) -> tuple[str, ...]:
    """A lock's versions as constraints: what comes first on the path counts, so what comes behind has to fit it."""
    return tuple(f"{name}=={version}" for name, version in sorted(lock.versions.items()) if "://" not in version)


def tracking_lock(resolved: Lock, environment: Lock) -> Lock:
    """What has to be installed.

    MLflow's client whole, as the tracker has nothing but this folder; of what saving a model needs beside it, only what
    the ML environment does not have.
    """
    return resolved.without(set(environment.versions) - resolved.closure(CLIENT_NAME))
