"""The example file is true to the code."""

import re
from pathlib import Path

from acore_bot.config import example_toml, load
from acore_bot.config.providers import PROVIDER_KINDS
from acore_bot.config.settings import Sections

ROOT = Path(__file__).parents[2]


def switched_on(text: str) -> str:
    """Return a text with the sign before every setting removed."""
    return re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)


def test_example_file_is_current() -> None:
    """The file in the project is what the code writes; if not, run the script that writes it."""
    assert (ROOT / "acore.example.toml").read_text(encoding="utf-8") == example_toml()


def test_example_holds_the_defaults(home: Path) -> None:
    """With every setting switched on, the example loads and changes nothing."""
    file = home / "example.toml"
    file.write_text(switched_on(example_toml()), encoding="utf-8")
    loaded, defaults = load(file, environ={}), load(environ={})
    assert loaded.model_copy(update={"file": None}) == defaults
    assert file.read_text(encoding="utf-8").count("\nmodel = ") == 1


def test_example_as_it_is_changes_nothing(home: Path) -> None:
    """Copied without a change, the example is the defaults too."""
    file = home / "example.toml"
    file.write_text(example_toml(), encoding="utf-8")
    assert load(file, environ={}).model_copy(update={"file": None}) == load(environ={})


def test_example_names_every_setting() -> None:
    """No knob is missing from the example, and none is without its sentence."""
    names = set(re.findall(r"(\w+) = ", example_toml()))
    sections = [f.annotation for n, f in Sections.model_fields.items() if n != "providers"]
    for section in (*sections, *PROVIDER_KINDS.values()):
        assert section is not None
        for name, field in section.model_fields.items():
            assert name in names
            assert field.description
            assert field.description.endswith(".")


def test_server_of_the_example_loads(home: Path) -> None:
    """The server that the example adds in a comment can be switched on as it stands."""
    found = re.search(r"# \[providers\.lab\]\n(?:# \w.*\n)+", example_toml())
    assert found
    file = home / "lab.toml"
    file.write_text(found[0].replace("# ", ""), encoding="utf-8")
    assert load(file, {"chat.model": "lab/tiny"}, {}).chat.model == "lab/tiny"
