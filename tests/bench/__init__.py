"""Measurements, each a program of its own: `just bench NAME`. None of them is a test."""
