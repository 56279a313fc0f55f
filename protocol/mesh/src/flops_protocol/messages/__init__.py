"""Every message of the mesh, by whom it concerns."""
