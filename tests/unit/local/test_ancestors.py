from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from mistudio_local.ancestors import Ancestors
ancestors = Ancestors()
print(ancestors.gone(), flush=True)
sys.stdin.readline()
print(ancestors.gone(), flush=True)
"""


def run_below_a_shell(command: str) -> tuple[str, str]:
    """What `Ancestors.gone` says before and after the shell that runs `command` is killed."""
    pipe = subprocess.PIPE
    shell = ["bash", "-c", f"{command}; :", "bash", sys.executable, "-c", SCRIPT]
    with subprocess.Popen(shell, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin
        assert process.stdout
        before = process.stdout.readline().strip()
        process.kill()
        process.wait()
        process.stdin.write("\n")
        process.stdin.flush()
        return before, process.stdout.readline().strip()


def test_a_killed_shell_is_noticed() -> None:
    assert run_below_a_shell('"$@"') == ("False", "True")


def test_a_killed_shell_above_another_program_is_noticed() -> None:
    assert run_below_a_shell("""bash -c '"$@"; :' bash "$@" """) == ("False", "True")


def test_a_shell_outside_the_session_does_not_count() -> None:
    assert run_below_a_shell('setsid --wait "$@"') == ("False", "False")
