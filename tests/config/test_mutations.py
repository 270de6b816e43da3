"""A file that went wrong in any way is answered with a sentence, never with a traceback."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from acore_bot.config import Settings, example_toml, load
from acore_bot.errors import ConfigurationError

GOOD = """\
[data]
directory = "store"
[chat]
model = "lab/tiny"
temperature = 0.5
max_tokens = 300
[providers.lab]
kind = "openai"
base_url = "http://127.0.0.1:8000/v1"
api_key = "sk-1"
headers = { X-One = "1" }
options = { top_p = 0.9, stop = ["a", "b"] }
[providers.moon]
kind = "lunar"
phase = 3
[providers.ollama]
keep_alive = "5m"
think = "low"
[discord]
token = "x"
"""
PIECES = [
    *GOOD.splitlines(),
    *example_toml().replace("#", "").splitlines(),
    *("[", "]", "{", "}", '"', "'", "=", ".", "\n", "\0", "\x1b", "true", "-1", "1e999", "nan"),
    *("[[chat]]", "[chat.model]", "2020-01-01", "9" * 400, "\ud7ff", "[providers.lab.kind]"),
]

edits = st.lists(
    st.tuples(
        st.integers(0, len(GOOD)),
        st.integers(0, 12),
        st.sampled_from(PIECES) | st.text(max_size=5),
    ),
    min_size=1,
    max_size=4,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "chat",
        "chat.model",
        "chat.max_tokens",
        "chat.temperature",
        "chat.persona",
        "data.directory",
        "data",
        "providers",
        "providers.lab",
        "providers.lab.kind",
        "providers.lab.base_url",
        "providers.ollama.think",
        "providers.ollama.keep_alive",
        "providers.openai.headers",
        "providers.openrouter.provider",
        "providers.openrouter.fallback_models",
        "discord.token",
    ]
)


def refusal(loading: Callable[[], Settings]) -> str:
    """Return the complaint of loading settings, empty if they load and can be shown."""
    try:
        repr(loading())
    except ConfigurationError as error:
        return str(error)
    return ""


def outcome(content: bytes) -> str:
    """Return the complaint about a file, empty if it loads."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "acore.toml"
        file.write_bytes(content)
        complaint = refusal(lambda: load(file, environ={}))
        assert complaint == "" or str(file) in complaint
        return complaint


def test_the_good_file_is_good() -> None:
    """The file that the mutations start from loads."""
    assert outcome(GOOD.encode()) == ""


@settings(max_examples=200, deadline=None)
@given(edits)
def test_r23_mutated_file_loads_or_is_named(changes: list[tuple[int, int, str]]) -> None:
    """Whatever was typed into a good file, it loads or its complaint names it."""
    text = GOOD
    for place, length, piece in changes:
        text = text[:place] + piece + text[place + length :]
    complaint = outcome(text.encode("utf-8", "surrogatepass"))
    assert complaint == "" or all(c.isprintable() or c == "\n" for c in complaint)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_named(content: bytes) -> None:
    """Bytes that never were a settings file are refused as kindly."""
    outcome(content)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, values, max_size=4))
def test_any_value_of_any_kind_loads_or_is_refused(overrides: dict[str, object]) -> None:
    """No value of any type brings anything but a sentence."""
    complaint = refusal(lambda: load(None, overrides, {}))
    assert complaint == "" or "the command line: " in complaint


NAMES = st.sampled_from(
    [
        "ACORE_CHAT__MODEL",
        "ACORE_CHAT",
        "ACORE_",
        "ACORE_CHAT__",
        "ACORE___MODEL",
        "acore_x__y__z",
        "ACORE_PROVIDERS__OLLAMA__OPTIONS",
        "ACORE_PROVIDERS__OLLAMA__OPTIONS__A",
        "OLLAMA_HOST",
        "ACORE_PROVIDERS__LAB",
        "ACORE_PROVIDERS__LAB__KIND",
        "DISCORD_TOKEN",
        "OPENAI_API_KEY",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        NAMES, st.text(max_size=9) | st.sampled_from(["{}", '{"a":1}', "[", "openai"]), max_size=5
    )
)
def test_any_environment_loads_or_is_refused(environ: dict[str, str]) -> None:
    """No variable brings anything but a sentence."""
    complaint = refusal(lambda: load(None, {}, environ))
    assert complaint == "" or any(name in complaint for name in environ)
