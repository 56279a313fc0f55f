"""The repository: where it is, what is in it, and whether it offers what is required."""
