"""Layer 4: MLflow's client, for the aggregator. On the path behind the ML environment, and only to save a model."""

from __future__ import annotations

from flops_protocol.sla import ModelFlavor

from flops_builder.resolve.lock import Lock

CLIENT = "mlflow-skinny>=3.17,<4"
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


def tracking_constraints(environment: Lock) -> tuple[str, ...]:
    """The ML environment's versions: what is imported first counts, so what comes behind has to fit it."""
    return tuple(f"{name}=={version}" for name, version in sorted(environment.versions.items()) if "://" not in version)


def tracking_lock(resolved: Lock, environment: Lock) -> Lock:
    """What has to be installed: the rest is in the ML environment already."""
    return resolved.without(set(environment.versions))
