"""The learner's data."""

from flops_mlrepo.data import load_dataset as load_dataset
