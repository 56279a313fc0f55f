"""The whole mesh on one machine: broker, services and MLflow as processes."""
