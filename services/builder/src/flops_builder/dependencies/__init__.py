"""What a repository says it needs: reading the file, repairing what is known to be wrong, choosing the Python."""
