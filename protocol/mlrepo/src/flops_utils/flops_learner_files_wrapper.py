"""The learner's data, under FLOps's oldest names."""

from flops_utils.flops_learner_files_proxy import load_dataset as load_dataset
from flops_utils.flops_learner_files_proxy import load_ml_data as load_ml_data
