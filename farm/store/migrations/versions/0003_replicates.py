"""Keep how hard was tried, what became of each replicate, and by which decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; tests of earlier runs had one replicate and decided nothing."""
    nothing, none = sa.text("'{}'"), sa.text("'[]'")
    for table, column in (
        ("job", sa.Column("effort", sa.JSON(), nullable=False, server_default=nothing)),
        ("test", sa.Column("replicates", sa.JSON(), nullable=False, server_default=none)),
        ("test", sa.Column("seeded", sa.Boolean(), nullable=False, server_default=sa.false())),
        ("test", sa.Column("decisions", sa.Text(), nullable=False, server_default="")),
    ):
        op.add_column(table, column)
