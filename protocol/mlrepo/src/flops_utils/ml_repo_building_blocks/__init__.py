"""Parts that a repository builds on."""

from flops_utils.ml_repo_building_blocks.flops_learner_files_proxy import load_dataset as load_dataset
