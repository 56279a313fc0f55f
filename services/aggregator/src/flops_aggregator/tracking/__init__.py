"""Tracking: what is to be logged goes into a journal at once; a process of its own brings it to MLflow.

Nothing is imported here: the tracker's process has no package of ours but this one.
"""
