"""Keep what a NEW verdict saw, so that it can be accepted as an expectation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; tests of earlier runs observed nothing."""
    column = sa.Column("observed", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))
    op.add_column("test", column)
