"""Keep which nightly plan a job belongs to, and which jobs a follow-up follows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; jobs of earlier runs had no plan and followed none."""
    for column in (
        sa.Column("plan", sa.Text(), nullable=False, server_default=""),
        sa.Column("purpose", sa.String(8), nullable=False, server_default=""),
        sa.Column("follows", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
    ):
        op.add_column("job", column)
