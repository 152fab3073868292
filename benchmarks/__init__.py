"""Benchmarks; see README.md for commands and numbers."""
