"""Work in a process of its own: no contender lives with what another has imported, cached or left in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_VERBOSITY": "error"}


def in_own_process(module: str, *arguments: str) -> Any:
    """What `python -m module arguments…` prints as its last line, which is JSON. Its Hub cache is empty at first.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="bench-hub-") as hub_folder:
        command = [sys.executable, "-m", module, *arguments]
        environment = os.environ | _QUIET | {"HF_HOME": hub_folder}
        told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])
