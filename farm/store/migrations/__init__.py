"""Alembic's environment: one file per change of the tables."""
