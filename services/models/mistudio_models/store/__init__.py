"""The record of models: its table, its migrations, and functions over one session."""

from pathlib import Path

SCHEMA = "models"
MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
"""Alembic versions of this service's own table: the branch `models`."""
