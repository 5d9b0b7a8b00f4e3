"""`python -m mistudio_models.migrate [REVISION]`: bring the schema `models` to its newest form, or to REVISION."""

from __future__ import annotations

import os
import sys

from mistudio_jobs import migrations as jobs
from mistudio_models.store import MIGRATIONS, SCHEMA
from mistudio_servicekit.config import Environment
from mistudio_servicekit.database import migrate

FOLDERS = (jobs.MIGRATIONS, MIGRATIONS)
"""The Alembic versions of the schema: the job engine's and the service's own."""


def main() -> None:
    """Migrate the database that `MISTUDIO_DATABASE_URL` names."""
    revision = sys.argv[1] if len(sys.argv) > 1 else "heads"
    migrate(Environment(os.environ).secret("MISTUDIO_DATABASE_URL"), SCHEMA, FOLDERS, revision)


if __name__ == "__main__":
    main()
