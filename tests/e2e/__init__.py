"""Whole projects, as a user runs them."""
