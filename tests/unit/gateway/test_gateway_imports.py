"""What a gateway carries in memory."""

from __future__ import annotations

import subprocess
import sys

_SHOW = "import sys, mistudio_gateway.server; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_a_gateway_loads_no_database_and_no_torch() -> None:
    loaded = subprocess.run([sys.executable, "-c", _SHOW], check=True, capture_output=True, text=True).stdout.split()
    assert "mistudio_servicekit" in loaded
    assert not {"sqlalchemy", "alembic", "psycopg", "torch"} & set(loaded)
