"""Runnable studies; each module answers one question."""
