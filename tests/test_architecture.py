"""The law of the house: what may import what, and how files begin and end."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "acore_bot"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400


def name_of(module: Path) -> str:
    """Name a module by its path within the package."""
    return str(module.relative_to(PACKAGE))


def test_imports_go_downward_only() -> None:
    """Every contract on imports that the project declares is kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_file_begins_with_its_purpose(module: Path) -> None:
    """The first line of each file is a whole sentence, or the beginning of one, that says what it
    is for."""
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    assert docstring
    assert module.read_text().startswith('"""')
    first_paragraph = " ".join(docstring.split("\n\n")[0].split())
    assert not first_paragraph[0].islower()
    assert first_paragraph.endswith((".", ":", "!"))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_file_stays_small(module: Path) -> None:
    """No file outgrows what a person reads at once."""
    assert len(module.read_text().splitlines()) <= MAX_LINES
