"""What the documents say of the code is what the code says."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from scripts.write_documents import BLOCK, BLOCKS, DOCS, documents, renewed

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
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
    shown = {name for page in PAGES for name in LINK.findall(page.read_text("utf-8"))}
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
