"""Wheels from source: fetched, unpacked and built in a sandbox, kept by what they were made from."""
