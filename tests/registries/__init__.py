"""Real registries for tests, started on this machine."""
