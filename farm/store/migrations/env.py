"""Runs the migrations on the connection that :func:`farm.store.engine.open_store` hands over."""

from __future__ import annotations

from alembic import context

from farm.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
