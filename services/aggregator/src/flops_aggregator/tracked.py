"""What of a training goes to MLflow, as entries of the tracking journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flops_protocol.identifiers import segment
from flops_protocol.messages.project import RoundMetrics

from flops_aggregator.desk import Wish
from flops_aggregator.roster import Roster
from flops_aggregator.tracking.journal import ModelEntry, RoundEntry, RunEntry
from flops_aggregator.tracking.supervisor import Tracking


class TrackedMetrics:
    """Brings rounds into the journal."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    async def rounds_finished(self, rounds: Sequence[RoundMetrics]) -> None:
        """See `flops_aggregator.recorder.Metrics`."""
        await self._tracking.record(*(RoundEntry(metrics.round, numbers(metrics)) for metrics in rounds))


def numbers(metrics: RoundMetrics) -> dict[str, float]:
    """The metrics of a round by MLflow's names."""
    return {"loss": metrics.loss, "accuracy": metrics.accuracy, **metrics.more}


def experiment_of(wish: Wish) -> str:
    """One experiment for each customer's repository, so that its projects can be compared."""
    name = wish.spec.repository_url.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
    return f"{wish.spec.sla.customer_id}/{segment(name)}"


def run_entry(wish: Wish, roster: Roster) -> RunEntry:
    """The run, with where everything came from."""
    spec, images = wish.spec, wish.command.images
    sla, training = spec.sla, spec.sla.training_configuration
    return RunEntry(
        project=spec.project,
        experiment=experiment_of(wish),
        tags={
            "mlflow.source.name": spec.repository_url,
            "mlflow.source.git.commit": spec.commit,
            "mlflow.user": sla.customer_id,
            "mesh.flops.repository": spec.repository_url,
            "mesh.flops.commit": spec.commit,
            "mesh.flops.lock-digest": images.lock_digest,
            "mesh.flops.image-key": images.image_key,
            "mesh.flops.learner-image": images.learner.digest,
            "mesh.flops.aggregator-image": images.aggregator.digest,
            "mesh.flops.learners": ",".join(wish.command.learners),
            "mesh.flops.learner-nodes": ",".join(sorted(set(roster.nodes.values()))),
            "mesh.flops.strategy": sla.strategy.name,
        },
        params={
            "strategy": sla.strategy.name,
            **{f"strategy.{name}": str(value) for name, value in sla.strategy.arguments.items()},
            "training_rounds": str(training.training_rounds),
            "min_available_clients": str(training.min_available_clients),
            "min_fit_clients": str(training.min_fit_clients),
            "min_evaluate_clients": str(training.min_evaluate_clients),
            "data_tags": ",".join(training.data_tags),
            "ml_model_flavor": sla.ml_model_flavor.value,
        },
    )


def model_entry(wish: Wish, folder: Path, best: RoundMetrics) -> ModelEntry:
    """The best model, saved in `folder` below the journal's."""
    images = wish.command.images
    return ModelEntry(
        folder=folder.name,
        flavor=wish.spec.sla.ml_model_flavor.value,
        round=best.round,
        metrics=numbers(best),
        tags={
            "mesh.flops.project": wish.spec.project,
            "mesh.flops.commit": wish.spec.commit,
            "mesh.flops.lock-digest": images.lock_digest,
            "mesh.flops.image-key": images.image_key,
        },
    )
