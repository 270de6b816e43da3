"""What is said about wrong settings: where, which key, which value, and the remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from acore_bot.config import load
from acore_bot.errors import ConfigurationError

Complaint = Callable[..., str]

NOT_TOML = (
    "this is not valid TOML. Texts stand in quotes, each key has one = and one value, "
    "each section one name in brackets. acore.example.toml shows how to write it."
)
TOO_DEEP = "FILE: lists or tables are nested too deeply. acore.example.toml shows how to write it."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[chat]\nmax_tokens = "lots"',
            (
                'FILE: chat.max_tokens is "lots" but must be a whole number from 1 to 100000. '
                "Correct it, or remove it to have the default, 800."
            ),
        ),
        (
            "[chat]\nmax_tokens = true",
            (
                "FILE: chat.max_tokens is true but must be a whole number from 1 to 100000. "
                "Correct it, or remove it to have the default, 800."
            ),
        ),
        (
            "[chat]\nmax_tokens = 0",
            (
                "FILE: chat.max_tokens is 0 but must be a whole number from 1 to 100000. "
                "Correct it, or remove it to have the default, 800."
            ),
        ),
        (
            "[chat]\ntemperature = 2.5",
            (
                "FILE: chat.temperature is 2.5 but must be a number from 0 to 2. "
                "Correct it, or remove it."
            ),
        ),
        (
            "[chat]\ntemperature = nan",
            (
                "FILE: chat.temperature is NaN but must be a number from 0 to 2. "
                "Correct it, or remove it."
            ),
        ),
        (
            "[chat]\ncontext_tokens = 0.5",
            (
                "FILE: chat.context_tokens is 0.5 but must be a whole number from 1 to 100000000. "
                "Correct it, or remove it to have the default, 8192."
            ),
        ),
        (
            "[providers.ollama]\ngap_seconds = 0",
            (
                "FILE: providers.ollama.gap_seconds is 0 but must be a number above 0 and up "
                "to 86400. "
                "Correct it, or remove it to have the default, 30.0."
            ),
        ),
        (
            '[chat]\nmessage_labels = "sometimes"',
            (
                'FILE: chat.message_labels is "sometimes" but must be one of "auto", "always", '
                '"never". Correct it, or remove it to have the default, "auto".'
            ),
        ),
        (
            '[chat]\npersona = "Sir Lancelot"',
            (
                'FILE: chat.persona is "Sir Lancelot" but must be a name of at most 40 small '
                'letters, digits, _ and -. Correct it, or remove it to have the default, "acore".'
            ),
        ),
        (
            '[chat]\nmodel = "llama3.2"',
            (
                'FILE: chat.model is "llama3.2" but must be written provider/model, such as '
                "ollama/llama3.2. "
                'Correct it, or remove it to have the default, "embedded/smollm2".'
            ),
        ),
        (
            '[chat]\nmodel = "olama/llama3.2"',
            (
                'FILE: chat.model is "olama/llama3.2" but there is no provider "olama". '
                'Did you mean "ollama/…"?'
            ),
        ),
        (
            '[failover]\nmodels = ["ollama/a", "olama/b"]',
            (
                'FILE: failover.models is "olama/b" but there is no provider "olama". '
                'Did you mean "ollama/…"?'
            ),
        ),
        (
            '[chat]\nmodel = "zzz/tiny"',
            (
                'FILE: chat.model is "zzz/tiny" but there is no provider "zzz". '
                "Add a section [providers.zzz]."
            ),
        ),
        (
            '[chat]\nmodle = "ollama/llama3.2"',
            "FILE: chat.modle is not a setting. Did you mean chat.model?",
        ),
        (
            'model = "ollama/llama3.2"',
            "FILE: model is not a setting. Did you mean chat.model?",
        ),
        ("[chta]", "FILE: chta is not a setting. Did you mean chat?"),
        (
            "[chat]\nwarp = 9",
            ("FILE: chat.warp is not a setting. Remove it; acore.example.toml shows all settings."),
        ),
        ("chat = 3", "FILE: chat is 3 but must be a section, [chat]."),
        ("providers = 3", "FILE: providers is 3 but must be a section, [providers]."),
        (
            "[providers]\nlab = 3",
            "FILE: providers.lab is 3 but must be a section, [providers.lab].",
        ),
        (
            '[providers.lab]\nbase_url = "http://lab/v1"',
            (
                'FILE: providers.lab.kind is missing. Add it: one of "embedded", "ollama", '
                '"openai", "openrouter", "scripted", or a plug-in\'s name.'
            ),
        ),
        (
            '[providers.lab]\nkind = "openai"',
            (
                "FILE: providers.lab.base_url is missing. "
                "Add it: a URL that begins with http:// or https:// and has no query."
            ),
        ),
        (
            '[providers.lab]\nkind = "openai"\nbase_url = "lab:8000"',
            (
                'FILE: providers.lab.base_url is "lab:8000" but must be a URL that begins with '
                "http:// or https:// and has no query. Correct it."
            ),
        ),
        (
            '[providers.lab]\nkind = "openai"\nbase_url = "http://lab/v1?key=1"',
            (
                'FILE: providers.lab.base_url is "http://lab/v1?**********" but must be a URL '
                "that begins with http:// or https:// and has no query. Correct it."
            ),
        ),
        (
            '[providers.openai]\nmax_tokens_field = "n"',
            (
                'FILE: providers.openai.max_tokens_field is "n" but must be one of "max_tokens", '
                '"max_completion_tokens". '
                'Correct it, or remove it to have the default, "max_completion_tokens".'
            ),
        ),
        (
            '[providers.lab]\nkind = "OpenAI"\n',
            (
                'FILE: providers.lab.kind is "OpenAI" but must be one of "embedded", "ollama", '
                '"openai", "openrouter", "scripted", or the name of a plug-in in small letters. '
                "Correct it."
            ),
        ),
        (
            '[providers."My Lab"]\nkind = "ollama"',
            (
                "FILE: providers.My Lab is not a name of at most 40 small letters, digits, _ "
                "and -. Rename it."
            ),
        ),
        (
            '[providers.ollama]\nthink = "hard"',
            (
                'FILE: providers.ollama.think is "hard" but must be true, false, or one of "low", '
                '"medium", "high", "max". Correct it, or remove it.'
            ),
        ),
        (
            '[providers.ollama]\nkeep_alive = "5 minutes"',
            (
                'FILE: providers.ollama.keep_alive is "5 minutes" but must be a number of seconds, '
                'or a duration such as "5m" or "1h30m". '
                'Correct it, or remove it to have the default, "5m".'
            ),
        ),
        (
            "[providers.ollama]\noptions = { since = 2020-01-01 }",
            (
                "FILE: providers.ollama.options is a table but must be a table of texts, numbers, "
                "true and false, lists and tables. Correct it, or remove it."
            ),
        ),
        (
            "[providers.openrouter]\nfallback_models = 3",
            (
                "FILE: providers.openrouter.fallback_models is 3 but must be a list of texts. "
                "Correct it, or remove it."
            ),
        ),
        (
            "[data]\ndirectory = 3",
            "FILE: data.directory is 3 but must be a path. Correct it, or remove it.",
        ),
        (
            '[data]\ndirectory = "~nobody-of-that-name/x"',
            (
                'FILE: data.directory is "~nobody-of-that-name/x" but must be a path. '
                "Correct it, or remove it."
            ),
        ),
        ("[chat]\n\nmodel = \n[x]", f"FILE: line 3, column 9: {NOT_TOML}"),
        ('[chat]\nmodel = "a', f"FILE: line 2, at the end of the file: {NOT_TOML}"),
        (f"x = {'9' * 5000}", f"FILE: line 1, at the end of the file: {NOT_TOML}"),
        (
            "[chat]\n[chat]\n",
            (
                "FILE: line 2, column 6: a section or key is written twice. Keep one of them. "
                "acore.example.toml shows how to write it."
            ),
        ),
        (f"x = {'[' * 5000}", TOO_DEEP),
        (f"{'.'.join('a' * 5000)} = 1", TOO_DEEP),
    ],
)
def test_sentence_about_a_file(complaint: Complaint, text: str, sentence: str) -> None:
    """Each fault of a file is told in one line that says what to do."""
    assert complaint(text) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "ACORE_CHAT__MAX_TOKENS",
            "lots",
            (
                'ACORE_CHAT__MAX_TOKENS: chat.max_tokens is "lots" but must be a whole number '
                "from 1 "
                "to 100000. Correct it, or unset it to have the default, 800."
            ),
        ),
        (
            "ACORE_CHAT__MODLE",
            "x/y",
            "ACORE_CHAT__MODLE: chat.modle is not a setting. Did you mean ACORE_CHAT__MODEL?",
        ),
        (
            "acore_model",
            "x/y",
            "acore_model: model is not a setting. Did you mean ACORE_CHAT__MODEL?",
        ),
        (
            "ACORE_CHAT",
            "x",
            'ACORE_CHAT: chat is "x" but must be a section, [chat].',
        ),
        (
            "OLLAMA_HOST",
            "two words",
            (
                'OLLAMA_HOST: providers.ollama.base_url is "http://two words:11434" but must be '
                "a URL "
                "that begins with http:// or https:// and has no query. "
                'Correct it, or unset it to have the default, "http://127.0.0.1:11434".'
            ),
        ),
        (
            "ACORE_CHAT__PERSONA",
            "\x1b[31m\n\udcff",
            (
                'ACORE_CHAT__PERSONA: chat.persona is "\\u001b[31m\\n\\udcff" but must be a '
                "name of at "
                "most 40 small letters, digits, _ and -. "
                'Correct it, or unset it to have the default, "acore".'
            ),
        ),
    ],
)
def test_sentence_about_a_variable(
    complaint: Complaint, name: str, value: str, sentence: str
) -> None:
    """A fault of the environment names the variable, and suggests one."""
    assert complaint(environ={name: value}) == sentence


def test_sentence_about_a_flag(complaint: Complaint) -> None:
    """A fault of the command line says so."""
    assert complaint('[chat]\nmodel = "ollama/x"', overrides={"chat.model": "gpt"}) == (
        'the command line: chat.model is "gpt" but must be written provider/model, such as '
        "ollama/llama3.2. "
        'Correct it, or leave it out to have the default, "embedded/smollm2".'
    )


def test_every_fault_has_its_line(complaint: Complaint) -> None:
    """All faults are told at once, each with its own source."""
    lines = complaint(
        "[chat]\nmax_tokens = 0\nwarp = 9", {"ACORE_CHAT__PERSONA": "A B"}, {"chat.model": "x"}
    ).splitlines()
    assert [line.partition(" is ")[0] for line in lines] == [
        "the command line: chat.model",
        "ACORE_CHAT__PERSONA: chat.persona",
        "FILE: chat.max_tokens",
        "FILE: chat.warp",
    ]


def test_key_inside_of_a_single_value(complaint: Complaint) -> None:
    """Two sources that contradict each other about what is a table are both named."""
    assert complaint('[chat]\nmodel = "ollama/x"', {"ACORE_CHAT__MODEL__NAME": "y"}) == (
        "ACORE_CHAT__MODEL__NAME: chat.model.name cannot stand inside chat.model, "
        "which FILE gives a single value. Remove one of the two."
    )


def test_long_value_is_cut(complaint: Complaint) -> None:
    """A value of any length leaves the sentence readable."""
    assert len(complaint(f'[chat]\npersona = "{"x" * 5000}"')) < 300


def read_failure(path: Path) -> str:
    """Return the complaint about a file that cannot be read, its path written as FILE."""
    with pytest.raises(ConfigurationError) as raised:
        load(path, environ={})
    return str(raised.value).replace(str(path), "FILE")


def test_file_that_does_not_exist(home: Path) -> None:
    """A file that somebody named must be there; the remedy depends on how it was named."""
    path = home / "no.toml"
    assert read_failure(path) == (
        "FILE: there is no such file. Check the path that was given as --config."
    )
    with pytest.raises(ConfigurationError, match="Correct the variable ACORE_CONFIG, or unset it"):
        load(environ={"ACORE_CONFIG": str(path)})
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load(Path("~nobody-of-that-name/acore.toml"), environ={})
    with pytest.raises(ConfigurationError, match=r"a\\x00b: there is no such file"):
        load(Path("a\0b"), environ={})


def test_folder_in_place_of_a_file(home: Path) -> None:
    """A folder is told from a file."""
    assert read_failure(home) == "FILE: this is a folder, not a file. Name the file inside it."


def test_file_without_permission(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is answered with the command that helps."""
    file = home / "closed.toml"
    file.write_text("")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The superuser, who runs tests in containers, may read everything.
    monkeypatch.setattr(Path, "open", refuse)
    assert read_failure(file) == "FILE: this user may not read it. Run: chmod u+r FILE"


def test_file_in_a_circle(home: Path) -> None:
    """Any other failure of the disk is told in the system's own words."""
    file = home / "circle.toml"
    file.symlink_to(file)
    assert read_failure(file).startswith("FILE: it cannot be read (Too many levels of symbolic")


def test_file_that_is_not_text(home: Path) -> None:
    """A file in another encoding names the line that shows it."""
    file = home / "latin.toml"
    file.write_bytes(b"[chat]\n# caf\xe9\n")
    assert read_failure(file) == "FILE: line 2 is not UTF-8. Save the file with the encoding UTF-8."


def test_file_without_end() -> None:
    """A source that never ends is left in time."""
    assert (
        read_failure(Path("/dev/zero")) == "FILE: it is larger than 1 MiB. Is this the right file?"
    )
