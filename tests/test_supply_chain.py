"""What is installed beside us: pinned, checked by its hashes, closed, known and small."""

import re
from pathlib import Path

import pytest
from scripts import write_licences as licences
from scripts.check_release import build
from scripts.clean_environment import REQUIREMENTS, install, make_environment, run_uv

MOST_PACKAGES = 31  # may shrink, not grow
ALLOWED = {"Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-CMU", "PSF-2.0"}


def pins(text: str) -> list[str]:
    """Return the pinned packages of a text in the form of requirements.txt, without hashes."""
    joined = text.replace("\\\n", " ")
    lines = (line.partition(" --hash")[0].strip() for line in joined.splitlines())
    return sorted(line for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what is pinned, with the hashes of all demanded, into a new environment, and us."""
    folder = tmp_path_factory.mktemp("user") / "environment"
    python = make_environment(folder)
    install(python, build(tmp_path_factory.mktemp("dist"))[0])
    return folder


def test_s23_the_pinned_packages_are_all_that_is_needed(environment: Path) -> None:
    """They pass their hashes, and neither we nor any of them lacks something or wants another
    version."""
    run_uv("pip", "check", "--python", environment)


def test_s23_pins_and_pyproject_agree_for_every_python() -> None:
    """Resolved anew, with these versions and no others allowed, pyproject.toml leads to just these
    lines, for all Pythons and systems; so a newer release of a package changes nothing."""
    needed = run_uv(
        *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--no-header", "--no-annotate", "--constraint", REQUIREMENTS, "pyproject.toml"),
    )
    assert pins(needed) == pins(REQUIREMENTS.read_text("utf-8"))


def test_s23_every_line_is_an_exact_version_with_hashes() -> None:
    """Nothing is taken that was not seen before, and no index is named."""
    text = REQUIREMENTS.read_text("utf-8")
    blocks = [block for block in re.split(r"\n(?=\w)", text) if block.strip()]
    assert all(re.match(r"[\w.-]+==[\w.]+ ", block) for block in blocks)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in text


def test_s23_there_are_few_of_them() -> None:
    """Each package more is one more to trust: there are no more than there were."""
    assert len(pins(REQUIREMENTS.read_text("utf-8"))) <= MOST_PACKAGES


def test_s23_nothing_runs_at_start_up(environment: Path) -> None:
    """No package has a file that Python would run whenever it starts."""
    lines = [line for file in environment.rglob("*.pth") for line in file.read_text().splitlines()]
    assert not [line for line in lines if line.startswith(("import ", "import\t"))]
    assert not [*environment.rglob("sitecustomize.py"), *environment.rglob("usercustomize.py")]


def test_s23_licences_are_known_and_allowed() -> None:
    """The list is of the pinned versions, written anew if it is not, and no package on it asks
    more of its users than to pass on its text."""
    packages = licences.installed()
    assert licences.FILE.read_text("utf-8") == licences.text_of(packages.items())
    for name, (_, licence) in packages.items():
        assert set(licence.split(" AND ")) <= ALLOWED, name
