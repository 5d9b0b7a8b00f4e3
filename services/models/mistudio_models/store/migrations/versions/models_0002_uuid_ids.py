"""Ids of models become UUIDs; before, they were texts: `m_<uuid>`, or whatever an older release had made up."""

import sqlalchemy as sa
from alembic import op

revision = "models_0002"
down_revision = "models_0001"
branch_labels = None
depends_on = None

_UUID = "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"


def upgrade() -> None:
    op.add_column("models", sa.Column("v1_id", sa.Text, unique=True))
    if not _ids_are_uuids():  # as the first form of models_0001 made them
        _make_uuids()


def downgrade() -> None:
    op.execute("ALTER TABLE models ALTER COLUMN id TYPE text USING coalesce(v1_id, 'm_' || id::text)")
    op.drop_column("models", "v1_id")


def _ids_are_uuids() -> bool:
    columns = {column["name"]: column["type"] for column in sa.inspect(op.get_bind()).get_columns("models")}
    return isinstance(columns["id"], sa.Uuid)


def _make_uuids() -> None:
    """`m_<uuid>` becomes its UUID; any other text is kept for the way back, and becomes the UUID that it is, or one
    that is always the same for this text.
    """
    op.execute(f"UPDATE models SET v1_id = id WHERE id !~ '^m_{_UUID}$'")  # noqa: S608  # constants only
    # Should both `<uuid>` and `m_<uuid>` be there, the UUID is the latter's.
    twin = "EXISTS (SELECT FROM models AS named WHERE named.id = 'm_' || models.id)"
    op.execute(f"UPDATE models SET id = md5(id)::uuid::text WHERE id ~ '^{_UUID}$' AND {twin}")  # noqa: S608  # constants only
    as_uuid = f"CASE WHEN id ~ '^(m_)?{_UUID}$' THEN regexp_replace(id, '^m_', '') ELSE md5(id) END"
    op.execute(f"ALTER TABLE models ALTER COLUMN id TYPE uuid USING ({as_uuid})::uuid")
