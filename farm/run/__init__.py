"""Runs: one process per board, journal, retry, progress."""
