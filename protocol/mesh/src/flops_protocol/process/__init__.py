"""What every process of the mesh does alike: it starts, logs, says what it is doing, and ends when it is asked to."""
