"""Generates the committed Python stubs: `python protos/generate.py [OUT]`, by default into `protos/python`."""

from __future__ import annotations

import shutil
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent


def generate(out: Path) -> None:
    """Write the stubs of every `.proto` file below this folder to `out`, replacing those there once all are made."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as fresh:
        _compile(Path(fresh))
        shutil.rmtree(out / "mistudio", ignore_errors=True)
        shutil.move(Path(fresh) / "mistudio", out / "mistudio")


def _compile(out: Path) -> None:
    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "mistudio").rglob("*.proto"))
    includes = [f"-I{HERE}", f"-I{files('grpc_tools') / '_proto'}"]
    kinds = {"python": "", "grpc_python": "", "mypy": "quiet:", "mypy_grpc": "quiet:"}
    outputs = [f"--{kind}_out={options}{out}" for kind, options in kinds.items()]
    if protoc.main(["protoc", *includes, *outputs, *sources]):
        raise SystemExit("protoc failed")
    for folder in {path.parent for path in (out / "mistudio").rglob("*.py")}:
        for package in (folder, *folder.parents):
            if package == out:
                break
            (package / "__init__.py").touch()
            (package / "py.typed").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "python")
