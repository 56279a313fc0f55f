"""Tracking: what is to be logged goes into a journal at once; a process of its own brings it to MLflow."""

from flops_aggregator.tracking.journal import Journal as Journal
from flops_aggregator.tracking.journal import Progress as Progress
from flops_aggregator.tracking.supervisor import Tracking as Tracking
from flops_aggregator.tracking.supervisor import open_tracking as open_tracking
