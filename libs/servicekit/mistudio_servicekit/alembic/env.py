"""Alembic's entry point, used through `mistudio_servicekit.database.migrate` only."""

from alembic import context
from sqlalchemy import create_engine, pool, text


def run() -> None:
    """Apply the migrations inside one schema, one process at a time."""
    url, schema = context.config.attributes["url"], context.config.attributes["schema"]
    engine = create_engine(url, poolclass=pool.NullPool, connect_args={"options": f"-c search_path={schema}"})
    with engine.connect() as connection:
        context.configure(connection=connection, version_table_schema=schema)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"migrate {schema}"})
            context.run_migrations()
    engine.dispose()


run()
