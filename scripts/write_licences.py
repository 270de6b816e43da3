"""Writes THIRD_PARTY_LICENCES.md: what is installed beside us on Linux, and under which licences.

Run: uv run python scripts/write_licences.py

What counts is what the packages say of themselves, for the newest Python, which needs one more.
"""

import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

# Run by its path, a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.clean_environment import REQUIREMENTS, ROOT, run_uv, weights

FILE = ROOT / "THIRD_PARTY_LICENCES.md"
NEWEST_PYTHON = "3.13"
CLASSIFIER = "License :: OSI Approved :: "
# How they call themselves who do not use the short names of SPDX.
SHORT = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
HEAD = """\
# Licences of others

What `acore-bot` is installed with on Linux, as `requirements.txt` pins it, and the model that it
brings. Each package carries its licence's text. `acore-bot` itself is under the
[MIT licence](LICENSE).

The operator's page holds uPlot (MIT), with its licence beside it, in
`src/acore_bot/ops/page/static/vendor/`.

Written by `scripts/write_licences.py`.

| package | version | licence |
| --- | --- | --- |
"""


def licence_of(package: Distribution) -> str:
    """Return a package's licence by its short name, or as the package calls it."""
    if expressions := _told(package, "License-Expression"):
        return expressions[0]
    classified = [
        SHORT.get(name, name)
        for line in _told(package, "Classifier")
        if (name := line.removeprefix(CLASSIFIER)) != line
    ]
    told = [" AND ".join(classified)] if classified else _told(package, "License")
    name = told[0].splitlines()[0] if told else "?"
    return SHORT.get(name, name)


def _told(package: Distribution, field: str) -> list[str]:
    return package.metadata.get_all(field) or []


def installed() -> dict[str, tuple[str, str]]:
    """Install what is pinned for the newest Python into a folder that goes away again, and return
    each package's version and licence by its name."""
    with tempfile.TemporaryDirectory() as folder:
        into = ("pip", "install", "--quiet", "--no-deps", "--target", folder)
        python = ("--python-version", NEWEST_PYTHON)
        run_uv(*into, *python, "--require-hashes", "--requirements", REQUIREMENTS)
        run_uv(*into, *python, weights())
        return {
            package.name: (package.version, licence_of(package))
            for package in distributions(path=[folder])
        }


def text_of(packages: Iterable[tuple[str, tuple[str, str]]]) -> str:
    """Lay packages out as the document."""
    ordered = sorted(packages, key=lambda package: package[0].lower())
    return HEAD + "".join(f"| {name} | {about[0]} | {about[1]} |\n" for name, about in ordered)


if __name__ == "__main__":
    FILE.write_text(text_of(installed().items()), encoding="utf-8")
