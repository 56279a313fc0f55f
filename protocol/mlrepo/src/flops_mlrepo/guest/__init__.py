"""The guest: what runs in the repository's own environment, beside its code.

Imports the standard library and NumPy only, and keeps to Python 3.8.
"""
