"""What a first settings file is made of: answers that were tried, written with comments.

Each answer is looked at as it is given: Discord is asked about the token, the model has to say a
word, the persona has to be there. The file is read by our own loader before it takes its place.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from acore_bot import config
from acore_bot.app.findings import examine_persona
from acore_bot.app.opening import host_of
from acore_bot.app.serving import open_discord
from acore_bot.app.towers import open_model, open_personas
from acore_bot.config import Settings
from acore_bot.errors import AcoreError, ConfigurationError
from acore_bot.messages import Finding
from acore_bot.ops import health

CLOUDS = {"openrouter": "OPENROUTER_API_KEY", "openai": "OPENAI_API_KEY"}
TOKEN_PARTS = 3
WHERE_TOKENS_ARE_MADE = "https://discord.com/developers/applications"
# Where servers that speak OpenAI's protocol listen by default: llama.cpp, vLLM, LM Studio.
USUAL_PORTS = {"llamacpp": 8080, "vllm": 8000, "lmstudio": 1234}


class Answers(Struct, frozen=True, kw_only=True):
    """What was chosen. `token` and `api_key` may be empty; `base_url` is that of a provider which
    the settings have to name."""

    model: str = "embedded/smollm2"
    persona: str = "acore"
    token: str = ""
    api_key: str = ""
    base_url: str = ""
    reads_along: bool = False

    @property
    def provider(self) -> str:
        """Whose model it is."""
        return self.model.partition("/")[0]

    def overrides(self) -> Mapping[str, object]:
        """Return them as settings by dotted keys."""
        given: dict[str, object] = {"chat.model": self.model, "chat.persona": self.persona}
        if self.token:
            given["discord.token"] = self.token
            given["discord.message_content"] = self.reads_along
        if self.base_url:
            given[f"providers.{self.provider}.kind"] = "openai"
            given[f"providers.{self.provider}.base_url"] = self.base_url
        if self.api_key:
            given[f"providers.{self.provider}.api_key"] = self.api_key
        return given

    def settings(self) -> Settings:
        """Return the settings that they make. Raises `ConfigurationError`."""
        return config.load(Path(os.devnull), self.overrides())


def odd_token(token: str) -> str:
    """Say why this can be no token of Discord's; nothing if it can."""
    if not token.isascii() or not token.isprintable() or " " in token:
        return "A token has no spaces and no unusual signs."
    if len(token.split(".")) != TOKEN_PARTS or not all(token.split(".")):
        return "A token has three parts with dots between them; this may be another secret."
    return ""


async def examine_token(answers: Answers) -> tuple[Finding, ...]:
    """Ask Discord about the token."""
    try:
        return await open_discord(answers.settings()).examine()
    except AcoreError as error:
        return (Finding("discord", "fault", error.sentence, error.remedy),)


async def examine_model(answers: Answers) -> Finding:
    """Ask the model for a word."""
    try:
        settings = answers.settings()
        async with open_model(settings) as routed:
            routed.provider(answers.provider)
            return await health.probe(routed, answers.model, local_only=False)
    except AcoreError as error:
        return Finding("model", "fault", error.sentence, error.remedy)


def look_at_persona(answers: Answers) -> Finding:
    """See whether the persona can be read."""
    try:
        settings = answers.settings()
    except AcoreError as error:
        return Finding("persona", "fault", error.sentence, error.remedy)
    return examine_persona(settings, open_personas(settings))


async def models_here() -> dict[str, Answers]:
    """Name the models that run on this machine or need nothing else, with what choosing each means:
    those inside the package, of Ollama, and of servers on the usual ports."""
    overrides: dict[str, object] = {}
    for name, port in USUAL_PORTS.items():
        overrides[f"providers.{name}.kind"] = "openai"
        overrides[f"providers.{name}.base_url"] = f"http://127.0.0.1:{port}/v1"
        overrides[f"providers.{name}.connect_seconds"] = 1.0
    settings = config.load(Path(os.devnull), overrides)
    async with open_model(settings) as routed:
        found = await routed.list_models(local_only=True)
    names = [(provider, model) for provider, models in found.items() for model in models]
    # Better ones first: that inside the package only shows that all works.
    names.sort(key=lambda name: (name[0] == "embedded", name))
    return {f"{provider}/{model}": _choosing(provider, model) for provider, model in names}


def _choosing(provider: str, model: str) -> Answers:
    port = USUAL_PORTS.get(provider)
    url = f"http://127.0.0.1:{port}/v1" if port else ""
    return Answers(model=f"{provider}/{model}", base_url=url)


def needs_key(model: str) -> bool:
    """Whether a model computes where a key is asked for, and none is set."""
    provider = model.partition("/")[0]
    return provider in CLOUDS and not os.environ.get(CLOUDS[provider])


def leaves_machine(answers: Answers) -> bool:
    """Whether what people say goes to a cloud."""
    try:
        return not host_of(answers.settings(), answers.provider).is_local
    except AcoreError:
        return False


def personas() -> list[tuple[str, str]]:
    """List the personas that there are, with what each is."""
    library = open_personas(config.load(Path(os.devnull)))
    found = []
    for slug in library.names():
        with suppress(ConfigurationError):
            found.append((slug, library.load(slug).description))
    return found


def text_of(answers: Answers) -> str:
    """Write the settings file."""
    lines = [
        "# Settings of acore-bot. acore.example.toml shows every setting with its default;",
        "# `acore doctor` looks at all of it. After a change: restart, or send SIGHUP.",
        "",
        "[chat]",
        "# Who answers, as provider/model.",
        f"model = {_quoted(answers.model)}",
        "# Who the bot is: a persona's name. `acore chat`, then `/persona list`, names them.",
        f"persona = {_quoted(answers.persona)}",
    ]
    if answers.token:
        lines += [
            "",
            "[discord]",
            "# The bot's token: whoever has it is the bot. Keep this file to yourself.",
            f"token = {_quoted(answers.token)}",
            "# Whether it reads messages that do not mention it. Discord wants the switch of the",
            "# same name in the developer portal for it.",
            f"message_content = {str(answers.reads_along).lower()}",
        ]
    if answers.base_url or answers.api_key:
        lines += ["", f"[providers.{_key(answers.provider)}]"]
    if answers.base_url:
        lines += ['kind = "openai"', f"base_url = {_quoted(answers.base_url)}"]
    if answers.api_key:
        lines += [
            "# What your account there is opened with.",
            f"api_key = {_quoted(answers.api_key)}",
        ]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    # A JSON string of plain letters is a TOML string, but for one letter that TOML forbids.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return (
        name
        if name.replace("-", "").replace("_", "").isalnum() and name.isascii()
        else _quoted(name)
    )


def write(answers: Answers, file: Path) -> Path | None:
    """Write the settings file, for its owner's eyes only, whole or not at all; and return where the
    one before it is now, if there was one. Raises `ConfigurationError`."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        msg = f"{file} is a link or no file, so it is left alone."
        raise ConfigurationError(msg, remedy="Give another place by --config.")
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        _write_new(new, text_of(answers))
        config.load(new)  # whatever was typed, what we write can be read
        old = file.with_name(f"{file.name}.old") if file.exists() else None
        if old:  # a second name, so that there is a file at every moment
            old.unlink(missing_ok=True)
            old.hardlink_to(file)
        new.replace(file)
    except OSError as error:
        msg = f"{file} cannot be written: {error.strerror}."
        raise ConfigurationError(msg, remedy="Choose another place by --config.") from None
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    return old


def _write_new(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(text)
        written.flush()
        os.fsync(written.fileno())


def with_choice(answers: Answers, choice: Answers) -> Answers:
    """Return the answers with another model."""
    return structs.replace(answers, model=choice.model, base_url=choice.base_url, api_key="")
