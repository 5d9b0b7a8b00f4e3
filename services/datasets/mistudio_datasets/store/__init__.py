"""The record of datasets and tokenizations: tables, their migrations, and functions over one session."""

from pathlib import Path

SCHEMA = "datasets"
MIGRATIONS = Path(__file__).parent / "migrations" / "versions"
"""Alembic versions of this service's own tables: the branch `datasets`."""
