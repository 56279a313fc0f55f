"""The learner's data, under FLOps's older names."""

from flops_mlrepo.data import load_dataset as load_dataset

load_ml_data = load_dataset
