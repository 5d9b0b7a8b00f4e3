"""Running a program as an ordinary user when we are root: Postgres refuses to run as root."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mistudio_local.errors import CannotRunHere

_USER = "pgserver"
_USERADD_ATTEMPTS = 20
# Capabilities with which a user may pass folders that are root's alone, the weakest first, by their bit.
_PASSING = {2: "dac_read_search", 1: "dac_override"}


def command(argv: Sequence[str]) -> list[str]:
    """`argv` as it is for an ordinary user; for root, wrapped so that it runs as a system user made for it.

    The user keeps one capability: to look into folders. Else neither a checkout below /root nor a private temporary
    folder would be usable, short of opening those folders to everybody.

    Raises:
        CannotRunHere: we are root, and the tools for it are missing.
    """
    if os.geteuid() != 0:
        return list(argv)
    user = _system_user()
    setpriv = _tool("setpriv", "util-linux")
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *identity, *_passing_folders(), "--", *argv]


def give(folder: Path) -> None:
    """Create `folder`, private to whoever runs what `command` wraps, and hand over what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.geteuid() != 0:
        return
    user = _system_user()
    if folder.stat().st_uid != user.pw_uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _passing_folders() -> list[str]:
    held = re.search(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    effective = int(held[1], 16) if held else 0
    for bit, name in _PASSING.items():
        if effective >> bit & 1:
            # Without no_setuid_fixup, access(2) would ignore the capability, and Postgres asks it for its own program.
            return [f"--inh-caps=+{name}", f"--ambient-caps=+{name}", "--securebits=+no_setuid_fixup"]
    return []


@cache
def _system_user() -> pwd.struct_passwd:
    useradd = _tool("useradd", "passwd")
    for _ in range(_USERADD_ATTEMPTS):
        try:
            return pwd.getpwnam(_USER)
        except KeyError:
            # Fails while another stack does the same and holds the lock of /etc/passwd: look again then.
            added = subprocess.run(
                [useradd, "--system", "--no-create-home", "--shell", "/bin/false", _USER],
                check=False,
                capture_output=True,
                text=True,
            )
            time.sleep(0.1 if added.returncode else 0)
    raise CannotRunHere(
        f"The system user {_USER!r}, as whom Postgres runs, cannot be created: {added.stderr.strip()}",
        next_step="Run as an ordinary user, or create that user",
    )


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise CannotRunHere(
            f"Postgres refuses to run as root, and {name!r}, needed to run it as another user, is missing",
            next_step=f"Run as an ordinary user, or install {package}",
        )
    return path
