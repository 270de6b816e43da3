"""Makes an environment as a user's: what requirements.txt pins, checked by its hashes, and a wheel.

For the scripts and tests that look at what people will have. Needs `uv` and nothing else.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"


def pyproject() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def weights() -> str:
    """Return the requirement that carries the embedded model's file."""
    (requirement,) = pyproject()["dependency-groups"]["model"]
    return str(requirement)


def run_uv(*arguments: str | Path) -> str:
    """Run uv in the project's folder and return what it printed. What goes wrong is on standard
    error already when this raises `CalledProcessError`."""
    done = subprocess.run(
        [os.environ.get("UV", "uv"), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def make_environment(folder: Path) -> Path:
    """Make one in a new folder that holds what is pinned, and return its Python."""
    run_uv("venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    install(python, "--require-hashes", "--requirements", REQUIREMENTS)
    return python


def install(python: Path, *what: str | Path) -> None:
    """Install exactly this, and nothing that it asks for."""
    run_uv("pip", "install", "--quiet", "--no-deps", "--python", python, *what)


def ask(python: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `acore` from that environment with an empty new folder as its home and the one it is
    in, and with nothing of this environment."""
    folder.mkdir()
    return subprocess.run(
        [python.with_name("acore"), *arguments],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
