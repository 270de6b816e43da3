"""Where settings come from, and which source is stronger."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acore_bot.config import (
    EmbeddedSettings,
    OllamaSettings,
    OpenAISettings,
    OpenRouterSettings,
    PluginSettings,
    ScriptedSettings,
    Settings,
    TimeLimits,
    find_file,
    load,
)

Load = Callable[..., Settings]

MODEL = '[chat]\nmodel = "ollama/file"\n'
IN_ENVIRONMENT = {"ACORE_CHAT__MODEL": "ollama/environment"}


def openai(settings: Settings, name: str) -> OpenAISettings:
    """Return a provider that is known to be of this kind."""
    provider = settings.providers[name]
    assert isinstance(provider, OpenAISettings)
    return provider


def ollama(settings: Settings, name: str = "ollama") -> OllamaSettings:
    """Return a provider that is known to be of this kind."""
    provider = settings.providers[name]
    assert isinstance(provider, OllamaSettings)
    return provider


def openrouter(settings: Settings) -> OpenRouterSettings:
    """Return the provider of that name."""
    provider = settings.providers["openrouter"]
    assert isinstance(provider, OpenRouterSettings)
    return provider


def test_defaults_need_no_file(home: Path) -> None:
    """Without a file or a variable the embedded model answers and nothing is missing."""
    settings = load(environ={})
    assert settings.file is None
    assert settings.warnings == ()
    assert settings.chat.model == "embedded/smollm2"
    assert settings.chat.max_tokens == 800
    assert settings.chat.temperature is None
    assert settings.data.directory == home / ".local/share/acore"
    assert settings.chat.personas_directory == home / ".config/acore/personas"


def test_command_line_beats_environment_beats_file(settings: Load) -> None:
    """A flag is stronger than a variable, a variable than the file, the file than the default."""
    flag = {"chat.model": "ollama/flag"}
    assert settings().chat.model == "embedded/smollm2"
    assert settings(MODEL).chat.model == "ollama/file"
    assert settings(MODEL, IN_ENVIRONMENT).chat.model == "ollama/environment"
    assert settings(MODEL, IN_ENVIRONMENT, flag).chat.model == "ollama/flag"


def test_flag_that_was_not_given_changes_nothing(settings: Load) -> None:
    """None among the overrides stands for a flag that was left out."""
    assert settings(MODEL, overrides={"chat.model": None}).chat.model == "ollama/file"


def test_own_names_are_weaker_than_the_file(settings: Load) -> None:
    """OPENAI_API_KEY and its like serve as defaults only."""
    text = '[providers.openai]\napi_key = "of the file"\n[discord]\ntoken = "of the file"\n'
    environ = {"OPENAI_API_KEY": "own", "OPENROUTER_API_KEY": "own", "DISCORD_TOKEN": "own"}
    loaded = settings(text, environ)
    key, token = openai(loaded, "openai").api_key, loaded.discord.token
    other = openrouter(loaded).api_key
    assert key
    assert key.get_secret_value() == "of the file"
    assert token
    assert token.get_secret_value() == "of the file"
    assert other
    assert other.get_secret_value() == "own"


def test_own_names_fill_what_the_file_leaves_out(settings: Load) -> None:
    """All four names that other tools use as well are understood."""
    environ = {"OPENAI_API_KEY": " k\n", "DISCORD_TOKEN": "t", "OLLAMA_HOST": "box:9"}
    loaded = settings("", environ)
    key, token = openai(loaded, "openai").api_key, loaded.discord.token
    assert key
    assert key.get_secret_value() == "k"
    assert token
    assert token.get_secret_value() == "t"
    assert ollama(loaded).base_url == "http://box:9"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("box", "http://box:11434"),
        ("box:9", "http://box:9"),
        (":9", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::]:9", "http://[::1]:9"),
        ("http://box", "http://box"),
        ("https://box/under/", "https://box/under"),
        ("http://0.0.0.0:9/", "http://127.0.0.1:9"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(settings: Load, host: str, url: str) -> None:
    """Scheme and port may be missing, and "everywhere" is reached on this machine."""
    assert ollama(settings("", {"OLLAMA_HOST": host})).base_url == url


def test_names_of_variables_may_be_in_any_case(settings: Load) -> None:
    """ACORE_CHAT__PERSONA and acore_chat__persona are the same."""
    assert settings("", {"acore_Chat__persona": "pirate"}).chat.persona == "pirate"


def test_empty_variable_counts_as_not_set(settings: Load) -> None:
    """Compose files pass variables on as empty texts where nobody has set them."""
    environ = {"ACORE_CHAT__MODEL": "", "OLLAMA_HOST": " ", "ACORE_CONFIG": "", "DISCORD_TOKEN": ""}
    assert settings("", environ) == settings()


def test_variables_hold_numbers_lists_and_tables(settings: Load) -> None:
    """Text of the environment becomes what its setting needs."""
    environ = {
        "ACORE_CHAT__TEMPERATURE": "0.5",
        "ACORE_CHAT__MAX_TOKENS": "12",
        "ACORE_PROVIDERS__OLLAMA__THINK": "true",
        "ACORE_PROVIDERS__OLLAMA__KEEP_ALIVE": "300",
        "ACORE_PROVIDERS__OLLAMA__OPTIONS": '{"top_p": 0.9}',
        "ACORE_PROVIDERS__OLLAMA__OPTIONS__TOP_K": "7",
        "ACORE_PROVIDERS__OPENROUTER__FALLBACK_MODELS": "a/b, c/d",
        "ACORE_PROVIDERS__OPENROUTER__HEADERS": '{"X-A": "1"}',
    }
    loaded = settings("", environ)
    assert (loaded.chat.temperature, loaded.chat.max_tokens) == (0.5, 12)
    assert (ollama(loaded).think, ollama(loaded).keep_alive) == (True, 300)
    assert ollama(loaded).options == {"top_p": 0.9, "top_k": 7}
    assert openrouter(loaded).fallback_models == ("a/b", "c/d")
    assert openrouter(loaded).headers["X-A"].get_secret_value() == "1"


def test_number_in_a_secret_stays_text(settings: Load) -> None:
    """A key of digits alone is no number."""
    loaded = settings("", {"ACORE_PROVIDERS__OLLAMA__HEADERS__AUTHORIZATION": "123"})
    assert ollama(loaded).headers["authorization"].get_secret_value() == "123"


def test_stronger_table_replaces_text_of_the_same_key(settings: Load) -> None:
    """A list or table given as a whole takes the place of the weaker one."""
    text = '[providers.openrouter]\nfallback_models = ["a"]\n'
    environ = {"ACORE_PROVIDERS__OPENROUTER__FALLBACK_MODELS": "b"}
    assert openrouter(settings(text, environ)).fallback_models == ("b",)


def test_pasted_key_loses_its_line_end(settings: Load) -> None:
    """A key that was pasted with blanks around it works all the same."""
    key = openai(settings('[providers.openai]\napi_key = " k\\n"\n'), "openai").api_key
    assert key
    assert key.get_secret_value() == "k"
    assert openai(settings('[providers.openai]\napi_key = " "\n'), "openai").api_key is None


def test_overrides_are_not_changed(settings: Load) -> None:
    """What a caller passes stays the caller's."""
    overrides: dict[str, object] = {"providers.lab": {}, "providers.lab.kind": "ollama"}
    settings(overrides=overrides)
    assert overrides == {"providers.lab": {}, "providers.lab.kind": "ollama"}


def test_list_in_a_variable_may_be_json(settings: Load) -> None:
    """A list is written as JSON or with commas."""
    environ = {"ACORE_PROVIDERS__OPENROUTER__FALLBACK_MODELS": '["a,b", "c"]'}
    assert openrouter(settings("", environ)).fallback_models == ("a,b", "c")


def test_provider_from_variables_alone(settings: Load) -> None:
    """A server can be added without any file."""
    environ = {
        "ACORE_PROVIDERS__LAB__KIND": "openai",
        "ACORE_PROVIDERS__LAB__BASE_URL": "http://lab/v1/",
    }
    lab = openai(settings("", environ, {"chat.model": "lab/tiny"}), "lab")
    assert lab.base_url == "http://lab/v1"
    assert lab.api_key is None
    assert lab.max_tokens_field == "max_tokens"


def test_four_providers_are_there_from_the_start(settings: Load) -> None:
    """Embedded, Ollama, OpenRouter and OpenAI need no section."""
    providers = settings().providers
    assert list(providers) == ["embedded", "ollama", "openrouter", "openai"]
    assert isinstance(providers["embedded"], EmbeddedSettings)
    assert openai(settings(), "openai").base_url == "https://api.openai.com/v1"
    assert openai(settings(), "openai").max_tokens_field == "max_completion_tokens"


def test_known_name_needs_no_kind(settings: Load) -> None:
    """A section for a known name adds to what it is by default."""
    loaded = settings('[providers.ollama]\nthink = "low"\n[providers.openai]\ngap_seconds = 7\n')
    assert ollama(loaded).think == "low"
    assert openai(loaded, "openai").base_url == "https://api.openai.com/v1"


def test_known_name_may_become_another_kind(settings: Load) -> None:
    """Who puts a known name to another use meets none of its old defaults."""
    loaded = settings('[providers.openai]\nkind = "ollama"\n', {"OPENAI_API_KEY": "k"})
    assert ollama(loaded, "openai").base_url == "http://127.0.0.1:11434"


def test_companies_that_keep_what_is_said_stay_excluded(settings: Load) -> None:
    """What is asked of OpenRouter's companies is merged over the private default."""
    merged = openrouter(settings('[providers.openrouter]\nprovider = { sort = "price" }\n'))
    assert merged.provider == {"data_collection": "deny", "sort": "price"}
    other = openrouter(settings("[providers.openrouter.provider]\ndata_collection = 'allow'\n"))
    assert other.provider == {"data_collection": "allow"}


def test_kind_of_a_plugin_takes_any_keys(settings: Load) -> None:
    """A kind that is not ours belongs to a plug-in, whose table comes through as written."""
    text = '[providers.moon]\nkind = "lunar"\nphase = 3\napi_key = "k"\ndeep = { a = [1] }\n'
    loaded = settings(text, {"ACORE_PROVIDERS__MOON__MODE": "9"}, {"chat.model": "moon/full"})
    moon = loaded.providers["moon"]
    assert isinstance(moon, PluginSettings)
    assert moon.kind == "lunar"
    assert moon.table == {"phase": 3, "api_key": "k", "deep": {"a": [1]}, "mode": "9"}


def test_scripted_provider(settings: Load) -> None:
    """Answers for tests and demonstrations are written in the file."""
    text = '[providers.stage]\nkind = "scripted"\nanswers = ["One.", "Two."]\n'
    stage = settings(text).providers["stage"]
    assert isinstance(stage, ScriptedSettings)
    assert stage.answers == ("One.", "Two.")


@pytest.mark.parametrize(
    ("table", "seconds"),
    [
        ('kind = "embedded"', 120),
        ('kind = "ollama"\nbase_url = "http://far"', 120),
        ('kind = "openrouter"', 30),
        ('kind = "openai"\nbase_url = "https://far/v1"', 30),
        ('kind = "openai"\nbase_url = "http://localhost:8000/v1"', 120),
        ('kind = "openai"\nbase_url = "http://127.9.9.9/v1"', 120),
        ('kind = "openai"\nbase_url = "http://[::1]:8000/v1"', 120),
        ('kind = "openai"\nbase_url = "http://localhost/v1"\nfirst_byte_seconds = 3', 3),
        ('kind = "ollama"\nfirst_byte_seconds = 4.5', 4.5),
    ],
)
def test_patience_for_the_first_byte(settings: Load, table: str, seconds: float) -> None:
    """A model that may have to be loaded first is given more time, unless the file says."""
    lab = settings(f"[providers.lab]\n{table}\n").providers["lab"]
    assert isinstance(lab, TimeLimits)
    assert lab.first_byte_limit_seconds == seconds


def test_paths_of_a_file_start_at_its_folder(home: Path) -> None:
    """Relative paths belong to the file that holds them, and ~ to the person."""
    file = home / "etc" / "my.toml"
    file.parent.mkdir()
    file.write_text(
        '[data]\ndirectory = "store"\n[chat]\npersonas_directory = "~/people"\n'
        '[providers.embedded]\nmodel_file = "own.gguf"\n'
    )
    settings = load(file, environ={})
    embedded = settings.providers["embedded"]
    assert isinstance(embedded, EmbeddedSettings)
    assert settings.data.directory == home / "etc/store"
    assert settings.chat.personas_directory == home / "people"
    assert embedded.model_file == home / "etc/own.gguf"


def test_other_paths_start_at_the_working_folder(settings: Load, home: Path) -> None:
    """A path of a variable or a flag means what it means in the shell."""
    assert settings("", {"ACORE_DATA__DIRECTORY": "here"}).data.directory == home / "work/here"


def test_file_is_searched_in_four_places(home: Path) -> None:
    """The flag comes first, then ACORE_CONFIG, the working folder and the user's folder."""
    user = home / ".config/acore/acore.toml"
    user.parent.mkdir(parents=True)
    given, named, here = home / "given.toml", home / "named.toml", home / "work/acore.toml"
    environ = {"ACORE_CONFIG": "~/named.toml"}
    assert find_file(environ={}) is None
    for file in (user, here, named, given):
        file.write_text("")
        if file == user:
            assert find_file(environ={}) == user
    assert find_file(environ={}) == here
    assert find_file(environ=environ) == named
    assert find_file(given, environ) == given
    assert load(environ={}).file == here


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who passes no environment gets that of the process."""
    monkeypatch.setenv("ACORE_CHAT__PERSONA", "pirate")
    assert load().chat.persona == "pirate"


def test_settings_do_not_change(settings: Load) -> None:
    """Settings are values: nobody changes them, and equal ones compare equal."""
    loaded = settings(MODEL)
    assert loaded == settings(MODEL)
    with pytest.raises(ValueError, match="frozen"):
        loaded.chat.model = "x/y"


def test_file_may_begin_with_a_byte_order_mark(home: Path) -> None:
    """Editors of other systems put a mark at the beginning, which harms nothing."""
    file = home / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf[chat]\r\npersona = 'pirate'\r\n")
    assert load(file, environ={}).chat.persona == "pirate"
