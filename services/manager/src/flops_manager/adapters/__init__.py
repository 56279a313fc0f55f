"""The manager's hands: Git, the image registry, the engine, the broker."""
