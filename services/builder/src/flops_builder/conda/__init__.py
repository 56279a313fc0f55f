"""Environments of conda packages, for where PyPI cannot serve: solved for every platform, linked, nothing executed."""
