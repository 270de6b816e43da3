"""What the documents say of the code is what the code says."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from scripts.write_documents import BLOCK, BLOCKS, DOCS, EXAMPLE, documents, renewed

from acore_bot import config
from acore_bot.cli import acore
from acore_bot.contracts import Provider
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, Usage

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
IN_TEXT = re.compile(r"`(acore [^`…]+)`")
# What a browser would load of itself from another host.
FOREIGN = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*"
)
PAGES = [*documents(), *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_documents_are_current(document: Path) -> None:
    """What stands between the marks is what the code writes; if not, run the script that writes
    it."""
    text = document.read_text("utf-8")
    assert text == renewed(text)


def test_every_part_stands_somewhere() -> None:
    """Nothing is made for a document that does not ask for it, and nothing stands twice."""
    marked = [name for one in documents() for _, name, _ in BLOCK.findall(one.read_text("utf-8"))]
    assert sorted(marked) == sorted(BLOCKS)


def test_a_stale_part_is_seen() -> None:
    """A part that differs in one word is written anew, and what stands around it stays."""
    text = "Before.\n<!-- from the code: settings -->\n\nstale\n\n<!-- end -->\nAfter.\n"
    found = renewed(text)
    assert "stale" not in found
    assert "| **Persona** |" in found
    assert found.startswith("Before.\n")
    assert found.endswith("<!-- end -->\nAfter.\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    """Each file that a document links to is there, with the heading that is meant."""
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, heading = unquote(target).partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not heading or heading in headings(file), target


def headings(file: Path) -> set[str]:
    """Name the headings of a document as links do."""
    titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_all_pictures_are_shown() -> None:
    """No picture lies about that no document shows."""
    links = [name for page in PAGES for name in LINK.findall(page.read_text("utf-8"))]
    shown = {name.removeprefix("docs/") for name in links}
    kept = {f"images/{file.name}" for file in (DOCS / "images").iterdir()}
    assert kept <= shown


def test_figures_are_read_as_the_page_for_owners_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python of the page on operations runs as it stands there, and prints every figure."""
    (code,) = re.findall(
        r"```python\n(.*?)```", (DOCS / "operations.md").read_text("utf-8"), re.DOTALL
    )
    monkeypatch.setenv("ACORE_DATA__DIRECTORY", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "operations.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("0 0\n0.0 0.0\n")
    assert "\nembedded {'last_response_time_seconds': 0.0," in printed
    assert "\n0 50 5.0\nTrue 0 0 0\n{'uptime_seconds': " in printed
    assert "my_event" in "".join(log.read_text() for log in tmp_path.glob("events/*/*.jsonl"))


async def test_the_example_keeps_the_promise_of_a_provider() -> None:
    """The provider of the tutorial says deltas and one end, with what it took; each answer is
    counted, and one that is left before its end as such."""
    made: Provider = runpy.run_path(str(EXAMPLE / "acore_backwards.py"))["Backwards"](name="b")
    question = ChatMessage("user", "one two")
    request = ChatRequest(model="plain", messages=(question,), max_tokens=9)
    async with made.stream(request) as pieces:
        *said, end = [piece async for piece in pieces]
    assert said == [Delta("two "), Delta("one ")]
    assert isinstance(end, End)
    assert end.usage == Usage(prompt_tokens=2, completion_tokens=2)
    async with made.stream(request) as pieces:
        assert await anext(pieces) == Delta("two ")
    stats = made.get_performance_stats()
    assert (stats["total_requests"], stats["cancelled_requests"]) == (2, 1)
    assert stats["total_tokens_generated"] == 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documents as a site; what is wrong with a link, an anchor or a name ends it."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=DOCS.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_documents_are_a_site(site: Path) -> None:
    """Each document is a page of the site, the reference of Python with what its names promise."""
    assert {file.stem for file in documents()} <= {file.stem for file in site.glob("*.html")}
    python = (site / "python.html").read_text("utf-8")
    assert 'id="acore_bot.contracts.ChatModel.stream"' in python
    assert "Answers a request as a stream." in python


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """Whoever reads the site is seen by nobody else: no font, script or picture of another host."""
    for file in site.rglob("*.html"):
        assert not FOREIGN.search(file.read_text("utf-8")), file.name
    for file in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)[^;)]*//", file.read_text("utf-8")), file.name


def test_every_promise_has_its_tests() -> None:
    """The tests that the page on security names are there."""
    named = set(re.findall(r"`(test_[rsp]\d+_)`", (DOCS / "security.md").read_text("utf-8")))
    sources = (DOCS.parent / "tests").rglob("test_*.py")
    there = {name for file in sources for name in _ids(file.read_text("utf-8"))}
    assert named
    assert named <= there


def _ids(source: str) -> Iterator[str]:
    for ids in re.findall(r"^(?:async )?def test_((?:[rsp]\d+_)+)", source, re.MULTILINE):
        yield from (f"test_{one}_" for one in ids.split("_"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_shown_are_settings(page: Path, tmp_path: Path) -> None:
    """Each piece of a settings file on a page is one that the bot takes."""
    for text in TOML.findall(page.read_text("utf-8")):
        file = tmp_path / "acore.toml"
        file.write_text(text)
        if "project" not in tomllib.loads(text):
            settings = config.load(file, environ={})
            assert not [it for it in settings.warnings if "chmod" not in it]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    """Each `acore …` within a sentence or table names a command and options that there are."""
    for line in IN_TEXT.findall(FENCED.sub("", page.read_text("utf-8"))):
        command: object = typer.main.get_command(acore)
        options = _options(command)
        for word in shlex.split(line.partition(" -- ")[0])[1:]:
            below: Mapping[str, object] = getattr(command, "commands", {})
            assert not below or word in below or not re.fullmatch("[a-z]+", word), line
            command = below.get(word, command)
            options |= _options(command)
            assert word[:2] != "--" or word in options, line


def _options(command: object) -> set[str]:
    params: list[object] = getattr(command, "params", [])
    names = [(*getattr(it, "opts", ()), *getattr(it, "secondary_opts", ())) for it in params]
    return {"--help", *(name for spelt in names for name in spelt)}
