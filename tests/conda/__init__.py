"""Conda channels made in a folder."""
