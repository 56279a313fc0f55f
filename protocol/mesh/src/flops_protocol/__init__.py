"""The contracts of the mesh: channels, messages, errors, and the bus that carries them."""
