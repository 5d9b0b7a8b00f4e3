"""The engine's migrations: the Alembic branch `jobs`, applied in the schema of every service that has jobs."""

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "versions"
"""Folder to give to `mistudio_servicekit.database.migrate`."""
