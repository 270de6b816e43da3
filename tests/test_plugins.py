"""From a name to a provider or front end: our own and those of other packages."""

from pathlib import Path

import pytest

from acore_bot import plugins
from acore_bot.errors import MissingExtra, UnknownPlugin
from acore_bot.providers.scripted import Scripted

PROVIDER = """
class Tea:
    '''Serves tea.'''

    def __init__(self, *, name: str) -> None:
        self.name = name
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages can be installed while a test runs."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_distribution(folder: Path, module: str, source: str, entry_points: str) -> None:
    """Install a tiny package, as pip would leave it."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_our_own_provider_is_loaded_by_name() -> None:
    """A name of the table gives the class that makes the provider."""
    assert plugins.load_provider("scripted") is Scripted


@pytest.mark.parametrize("kind", plugins.PROVIDERS)
def test_each_of_our_providers_loads(kind: str) -> None:
    """Every provider of the table is there."""
    assert callable(plugins.load_provider(kind))


@pytest.mark.parametrize("kind", plugins.FRONTENDS)
def test_each_of_our_front_ends_loads(kind: str) -> None:
    """Every front end of the table is there."""
    assert callable(plugins.load_frontend(kind))


def test_a_provider_of_another_package_works(install: Path) -> None:
    """An installed package's entry point is found by its name, and makes its provider."""
    write_distribution(
        install, "acore_test_tea", PROVIDER, "[acore_bot.providers]\ntea = acore_test_tea:Tea\n"
    )
    made: object = plugins.load_provider("tea")(name="green")
    assert type(made).__name__ == "Tea"


def test_a_front_end_of_another_package_works(install: Path) -> None:
    """Front ends come by the same door, in a group of their own."""
    write_distribution(
        install, "acore_test_cup", PROVIDER, "[acore_bot.frontends]\ncup = acore_test_cup:Tea\n"
    )
    assert callable(plugins.load_frontend("cup"))
    with pytest.raises(UnknownPlugin):
        plugins.load_provider("cup")


def test_nothing_is_loaded_before_it_is_named(install: Path) -> None:
    """A package that is installed but not used is not imported."""
    write_distribution(
        install,
        "acore_test_bomb",
        "raise RuntimeError('loaded')",
        "[acore_bot.providers]\nbomb = acore_test_bomb:Bomb\n",
    )
    assert plugins.load_provider("scripted") is Scripted
    with pytest.raises(RuntimeError, match="loaded"):
        plugins.load_provider("bomb")


def test_a_missing_package_is_named(install: Path) -> None:
    """If what a provider needs is not installed, the complaint says how to get it."""
    write_distribution(
        install,
        "acore_test_milk",
        "import acore_test_cow",
        "[acore_bot.providers]\nmilk = acore_test_milk:Milk\n",
    )
    with pytest.raises(MissingExtra) as caught:
        plugins.load_provider("milk")
    assert str(caught.value) == (
        "The kind of provider 'milk' needs a package that is not installed: acore_test_cow. "
        "Install it with: pip install acore_test_cow"
    )
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_package_that_cannot_start_is_explained(install: Path) -> None:
    """If a package is there but cannot be imported, its own reason is told."""
    write_distribution(
        install,
        "acore_test_rust",
        "raise ImportError('librust.so.1: cannot open shared object file')",
        "[acore_bot.providers]\nrust = acore_test_rust:Rust\n",
    )
    with pytest.raises(MissingExtra) as caught:
        plugins.load_provider("rust")
    assert caught.value.sentence == (
        "The kind of provider 'rust' cannot be loaded: "
        "librust.so.1: cannot open shared object file."
    )


def test_our_own_names_cannot_be_taken(install: Path) -> None:
    """A package that registers one of our names does not replace ours."""
    write_distribution(
        install,
        "acore_test_spy",
        PROVIDER,
        "[acore_bot.providers]\nscripted = acore_test_spy:Tea\n",
    )
    assert plugins.load_provider("scripted") is Scripted


@pytest.mark.parametrize(
    ("kind", "meant"), [("olama", "ollama"), ("openroute", "openrouter"), ("embeded", "embedded")]
)
def test_a_near_name_is_suggested(kind: str, meant: str) -> None:
    """A slip of the pen is answered by what was probably meant."""
    with pytest.raises(UnknownPlugin) as caught:
        plugins.load_provider(kind)
    assert str(caught.value) == (
        f"There is no kind of provider named {kind!r}. Did you mean {meant!r}?"
    )


def test_an_unknown_name_lists_what_there_is() -> None:
    """A name unlike any other is answered by all of them, and echoed briefly."""
    with pytest.raises(UnknownPlugin) as caught:
        plugins.load_frontend("x" * 100)
    assert caught.value.sentence == f"There is no front end named {'x' * 40!r}."
    assert caught.value.remedy == f"There are: {', '.join(sorted(plugins.FRONTENDS))}."
