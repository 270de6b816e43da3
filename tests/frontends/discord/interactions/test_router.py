"""From what people use on Discord to the core, and what they are told when something is amiss."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest
from tests.fakes.discord.faults import DropReply, Fail, Fault, Reset, TimeOut
from tests.fakes.discord.interactions import AUTOCOMPLETE, COMPONENT, FORM
from tests.fakes.discord.payloads import attachment_json
from tests.fakes.discord.things import File
from tests.fakes.interacting import Heard, InteractingBot, interacting

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import Blocked, NotFound, TargetGone, Unexpected
from acore_bot.frontends.discord.interactions.router import (
    NOT_MY_OWNER,
    RESTARTING,
    STALE,
    STOPPED,
    UNKNOWN,
    Router,
)
from acore_bot.messages import IncomingCommand, IncomingMessage, Place, Quote

MANAGE_GUILD, MANAGE_MESSAGES = 1 << 5, 1 << 13


@pytest.fixture
async def bot() -> AsyncIterator[InteractingBot]:
    """A bot."""
    async with interacting() as bot:
        yield bot


async def asked(bot: InteractingBot) -> IncomingMessage:
    """Return the one message that the core was handed, when all is done."""
    await bot.until(lambda: bot.heard)
    await bot.done()
    (message,) = bot.heard
    assert isinstance(message, IncomingMessage)
    return message


async def told(bot: InteractingBot, path: str, **more: Any) -> IncomingCommand:  # noqa: ANN401
    """Return the command that the core is handed for a slash command."""
    bot.heard.clear()
    await bot.slash(path, **more)
    await bot.until(lambda: bot.heard)
    await bot.done()
    (command,) = bot.heard
    assert isinstance(command, IncomingCommand)
    return command


# Questions.


async def test_ask_is_a_question_outside_of_conversations(bot: InteractingBot) -> None:
    """The core is handed the text, who asked it and where, and that it is to be answered."""
    role = bot.guild.add_role("cooks")
    bot.guild.add_member(bot.ada, nick="Countess", roles=[role])
    used = await bot.slash("ask", question="  What is tea? ")
    message = await asked(bot)
    assert message.text == "  What is tea? "
    assert message.id == used.id
    assert message.conversation == f"discord:{bot.channel.id}"
    assert message.place == Place(str(bot.guild.id), str(bot.channel.id))
    assert (message.author.id, message.author.name) == (str(bot.ada.id), "Countess")
    assert (message.is_asked, message.is_stateless, message.is_private) == (True, True, False)
    assert message.created_at.tzinfo is not None
    assert used.texts == ["Yes."]
    assert not used.whispers


async def test_roles_come_along(bot: InteractingBot) -> None:
    """The roles of the person are told, without the one that everybody has."""
    role = bot.guild.add_role("cooks")
    bot.fake.world.tell("GUILD_CREATE", bot.guild)
    bot.guild.add_member(bot.ada, roles=[role])
    await bot.slash("ask", question="x")
    assert (await asked(bot)).roles == (str(role.id),)


async def test_chat_belongs_to_the_conversation(bot: InteractingBot) -> None:
    """It is asked for as well, but it has a past."""
    await bot.slash("chat", message="Hello!")
    message = await asked(bot)
    assert (message.text, message.is_asked, message.is_stateless) == ("Hello!", True, False)


async def test_a_file_comes_along(bot: InteractingBot) -> None:
    """What was attached is named as files of messages are."""
    said = bot.fake.world.post(
        bot.ada, bot.channel, "", files=[File("a/b_c.txt", b"abc", "text/plain")]
    )
    await bot.slash("chat", message="Look", file=attachment_json(said.attachments[0]))
    (file,) = (await asked(bot)).attachments
    assert (file.name, file.size, file.media_type) == ("b c.txt", 3, "text/plain")
    assert file.url == said.attachments[0].url


async def test_a_thread_is_in_its_channel(bot: InteractingBot) -> None:
    """What holds for a channel holds for its threads, which are conversations of their own."""
    thread = bot.guild.add_thread(bot.channel, "plans")
    await bot.slash("chat", channel=thread, message="Hello!")
    message = await asked(bot)
    assert message.conversation == f"discord:{thread.id}"
    assert message.place == Place(str(bot.guild.id), str(bot.channel.id))
    assert message.is_thread


async def test_a_private_chat(bot: InteractingBot) -> None:
    """With the bot alone, people have the say, and no guild is involved."""
    chat = bot.fake.open_dm(bot.ada)
    command = await told(bot, "model show", channel=chat)
    assert command.place == Place("", str(chat.id))
    assert (command.is_private, command.may_manage, command.roles) == (True, True, ())
    bot.heard.clear()
    await bot.slash("ask", channel=chat, question="x")
    assert (await asked(bot)).is_private


async def test_where_a_person_brought_the_bot_along(bot: InteractingBot) -> None:
    """A server that did not install it counts as none: the place is the person's own wherever they
    go, they have the say there, and each channel is a conversation of theirs. One that installed
    its commands, though without the bot itself, is a place as ever."""
    away = bot.fake.add_guild("away")
    talk = away.add_text_channel("talk")
    away.add_member(bot.ada, roles=[away.add_role("cooks")])
    leaving = asyncio.create_task(bot.client.wait_for("guild_remove", timeout=10))
    await asyncio.sleep(0)
    away.remove_bot()
    await leaving
    for channel in (talk, bot.fake.add_group("friends")):
        bot.heard.clear()
        await bot.slash("chat", channel=channel, message="Hello!")
        message = await asked(bot)
        assert message.conversation == f"discord:{channel.id}/{bot.ada.id}"
        assert message.place == Place("", str(bot.ada.id))
        assert (message.is_private, message.roles) == (True, ())
        command = await told(bot, "persona show", channel=channel)
        assert (command.conversation, command.place) == (message.conversation, message.place)
        assert (command.is_private, command.may_manage, command.roles) == (True, True, ())
    away.has_commands = True
    bot.heard.clear()
    await bot.slash("chat", channel=talk, message="Hello!")
    assert (await asked(bot)).place == Place(str(away.id), str(talk.id))


# Commands.


@pytest.mark.parametrize(
    ("path", "filled", "argument"),
    [
        ("persona show", {}, "show"),
        ("persona list", {}, ""),
        ("persona set", {"name": "pirate"}, "pirate"),
        ("model show", {}, "show"),
        ("model list", {}, ""),
        ("model set", {"name": "ollama/tea:7b"}, "ollama/tea:7b"),
        ("reset", {}, ""),
        ("summary", {}, ""),
        ("stats", {}, ""),
        ("doctor", {}, ""),
        ("help", {}, ""),
        ("privacy show", {}, "show"),
        ("privacy export", {}, "export"),
        ("privacy forget", {}, "forget"),
        ("privacy pause", {}, "pause"),
        ("privacy resume", {}, "resume"),
        ("compare results", {}, "results"),
    ],
)
async def test_commands_reach_the_core(
    bot: InteractingBot, path: str, filled: dict[str, str], argument: str
) -> None:
    """Each by its name, with what follows it as its argument."""
    command = await told(bot, path, **filled)
    assert (command.name, command.argument) == (path.partition(" ")[0], argument)
    assert command.conversation == f"discord:{bot.channel.id}"
    assert command.author.id == str(bot.ada.id)


async def test_what_is_compared(bot: InteractingBot) -> None:
    """Both names, which may be missing, come with the question as one JSON text."""
    command = await told(bot, "compare models", question='"Tea"?', second="b/c")
    assert command.name == "compare"
    assert json.loads(command.argument) == {"question": '"Tea"?', "first": "", "second": "b/c"}


PUBLIC = {"persona set", "model set", "reset", "compare models", "ask", "chat"}


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        ("ask", {"question": "x"}),
        ("chat", {"message": "x"}),
        ("persona set", {"name": "x"}),
        ("model set", {"name": "x"}),
        ("reset", {}),
        ("compare models", {"question": "x"}),
        ("persona show", {}),
        ("model list", {}),
        ("privacy export", {}),
        ("summary", {}),
        ("stats", {}),
        ("doctor", {}),
        ("help", {}),
        ("compare results", {}),
    ],
)
async def test_who_sees_what(bot: InteractingBot, path: str, filled: dict[str, str]) -> None:
    """What changes something for all is shown to all; the rest is between the person and us."""
    used = await bot.slash(path, **filled)
    await bot.until(lambda: used.texts)
    assert (used.whispers == []) == (path in PUBLIC)


@pytest.mark.parametrize(
    ("permissions", "may_manage"), [(0, False), (MANAGE_MESSAGES, False), (MANAGE_GUILD, True)]
)
async def test_who_has_the_say(bot: InteractingBot, permissions: int, *, may_manage: bool) -> None:
    """In a guild it is those whom Discord lets manage it."""
    assert (await told(bot, "stats", permissions=permissions)).may_manage is may_manage


# Menus.


async def test_ask_about_a_message(bot: InteractingBot) -> None:
    """A form opens at once; what is typed there is asked about the message, which is quoted, with
    its files."""
    ben = bot.fake.add_user("Ben")
    said = bot.fake.world.post(
        ben, bot.channel, "Tea is a drink.", files=[File("tea.txt", b"abc", "text/plain")]
    )
    shown = await bot.open_menu("Ask about this", said)
    await bot.until(lambda: shown.response)
    assert shown.response is not None
    assert shown.response["type"] == 9
    assert not bot.heard
    used = await bot.submit(shown, "Is that so?")
    message = await asked(bot)
    assert (message.text, message.is_asked, message.is_stateless) == ("Is that so?", True, False)
    (quote,) = message.quotes
    assert quote.author is not None
    assert quote == Quote(kind="reply", text="Tea is a drink.", author=quote.author)
    assert quote.author.name == "Ben"
    assert [file.name for file in message.attachments] == ["tea.txt"]
    assert message.author.name == "Ada"
    assert used.texts == ["Yes."]


@pytest.mark.parametrize(("is_bot", "text"), [(True, "Today:\nTea\nIt rains."), (False, "Today:")])
async def test_what_is_quoted_of_embeds(bot: InteractingBot, *, is_bot: bool, text: str) -> None:
    """They are what other bots say; a preview of a person's link is not."""
    news = bot.fake.add_user("News", is_bot=is_bot)
    said = bot.fake.world.post(
        news, bot.channel, "Today:", embeds=[{"title": "Tea", "description": "It rains."}]
    )
    shown = await bot.open_menu("Ask about this", said)
    await bot.until(lambda: shown.response)
    await bot.submit(shown, "Why?")
    assert (await asked(bot)).quotes[0].text == text


async def test_a_form_is_for_whom_it_was_opened(bot: InteractingBot) -> None:
    """Another person's, one that was sent before, and one from before a restart, are not
    answered but explained."""
    said = bot.fake.world.post(bot.ada, bot.channel, "Tea is a drink.")
    shown = await bot.open_menu("Ask about this", said)
    await bot.until(lambda: shown.response)
    foreign = await bot.submit(shown, "x", user=bot.fake.add_user("Mallory"))
    await bot.until(lambda: foreign.texts)
    mine = await bot.submit(shown, "x")
    await bot.until(lambda: mine.texts)
    again = await bot.submit(shown, "x")
    await bot.until(lambda: again.texts)
    assert (foreign.whispers, mine.texts, again.whispers) == ([STALE], ["Yes."], [STALE])
    assert len(bot.heard) == 1


async def test_forms_are_not_remembered_for_ever(
    bot: InteractingBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many are, as most are never sent; whose was forgotten hears of it."""
    module = "acore_bot.frontends.discord.interactions.router.MAX_OPEN_FORMS"
    monkeypatch.setattr(module, 2)
    texts = ("one", "two", "three")
    said = [bot.fake.world.post(bot.ada, bot.channel, text) for text in texts]
    shown = [await bot.open_menu("Ask about this", one) for one in said]
    await bot.until(lambda: all(one.response for one in shown))
    used = [await bot.submit(one, "Why?") for one in shown]
    await bot.until(lambda: all(one.texts for one in used))
    assert [one.texts for one in used] == [[STALE], ["Yes."], ["Yes."]]


async def test_why(bot: InteractingBot) -> None:
    """Which rule makes the bot answer a message is told to the person alone."""
    said = bot.fake.world.post(bot.ada, bot.channel, f"{bot.fake.bot_user.mention} hello")
    used = await bot.open_menu("Why?", said)
    await bot.until(lambda: used.texts)
    assert used.whispers == ["You mentioned me."]
    (message,) = bot.core.explained
    assert (message.id, message.text, message.mentions_bot) == (said.id, "hello", True)


# Suggestions.


async def choices(bot: InteractingBot, path: str, option: str, typed: str) -> list[str]:
    """Return what is suggested."""
    used = await bot.type(path, option, typed)
    await bot.until(lambda: used.response)
    assert used.response is not None
    assert used.response["type"] == 8
    assert all(one["name"] == one["value"] for one in used.response["data"]["choices"])
    return [one["name"] for one in used.response["data"]["choices"]]


async def test_suggestions_are_the_cores(bot: InteractingBot) -> None:
    """For each option the core is asked with what was typed so far, and where."""
    bot.core.names = ("pirate", "poet")
    assert await choices(bot, "persona set", "name", "p") == ["pirate", "poet"]
    await choices(bot, "model set", "name", "oll")
    await choices(bot, "compare models", "second", "")
    place = Place(str(bot.guild.id), str(bot.channel.id))
    assert bot.core.asked == [
        ("persona", "p", place),
        ("model", "oll", place),
        ("model", "", place),
    ]
    assert bot.fake.requests_to("edit_original") == []


async def test_suggestions_are_within_limits(bot: InteractingBot) -> None:
    """At most 25 are shown, and none that Discord would refuse, or that would be cut."""
    bot.core.names = ("", "x" * 101, "y" * 100, *(f"model-{n}" for n in range(40)))
    found = await choices(bot, "model set", "name", "x")
    assert found == ["y" * 100, *(f"model-{n}" for n in range(24))]


@pytest.mark.parametrize("error", [NotFound("There is none."), Blocked()])
async def test_no_suggestion_is_no_error(bot: InteractingBot, error: Exception) -> None:
    """When the core cannot suggest anything, nothing is suggested."""
    bot.core.failure = error
    assert await choices(bot, "model set", "name", "x") == []


async def test_slow_suggestions_are_none(
    bot: InteractingBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discord waits for three seconds, so the core gets less."""
    module = "acore_bot.frontends.discord.interactions.router.SUGGESTION_SECONDS"
    monkeypatch.setattr(module, 0.01)
    bot.core.gate.clear()
    assert await choices(bot, "model set", "name", "x") == []


# The three seconds.


async def test_r12_nothing_comes_before_the_acknowledgement(bot: InteractingBot) -> None:
    """Each kind of interaction makes its first response its first request, and though the core
    never goes on."""
    stuck = bot.core.gate
    stuck.clear()

    async def script(_: Heard, __: ReplyTarget) -> None:
        await stuck.wait()

    bot.listener.script = script
    said = bot.fake.world.post(bot.ada, bot.channel, "Tea?")
    shown = await bot.open_menu("Ask about this", said)
    await bot.until(lambda: shown.response)
    used = [
        await bot.slash("ask", question="x"),
        await bot.slash("privacy export"),
        await bot.slash("nonsense"),
        await bot.submit(shown, "Is that so?"),
        await bot.open_menu("Why?", said),
    ]
    await bot.until(lambda: all(one.response for one in used))
    asked = [one for one in bot.fake.requests if "interaction-token" in one.path]
    first = {one.path.split("/")[3]: one.route for one in reversed(asked)}
    assert set(first.values()) == {"respond"}
    assert len(first) == 6
    stuck.set()
    await bot.done()


async def test_an_interaction_that_came_too_late(
    bot: InteractingBot, caplog: pytest.LogCaptureFixture
) -> None:
    """What Discord does not wait for any more is not begun, and the log tells of it."""
    bot.fake.fault("respond", lambda _: bot.minutes.advance(3.5))
    await bot.slash("ask", question="x")
    await bot.until(lambda: bot.fake.requests_to("respond"))
    await bot.until(lambda: bot.listener.tasks)
    await bot.done()
    assert bot.heard == []
    assert "could not be answered" in caplog.text


async def test_the_same_event_twice(bot: InteractingBot) -> None:
    """What somebody else acknowledged, such as ourselves, is not done a second time."""
    await bot.slash("ask", question="x")
    await asked(bot)
    (session,) = bot.fake.gateway.sessions.values()
    events = list(map(json.loads, session.events))
    (event,) = (one for one in events if one["t"] == "INTERACTION_CREATE")
    session.push("INTERACTION_CREATE", event["d"])
    await bot.until(lambda: len(bot.fake.requests_to("respond")) == 2)
    await bot.until(lambda: len(bot.listener.tasks) == 2)
    await bot.done()
    assert len(bot.heard) == 1


@pytest.mark.parametrize("fault", [Reset(), DropReply(), TimeOut(), Fail(503)])
async def test_a_broken_connection_at_first(bot: InteractingBot, fault: Fault) -> None:
    """The first response is sent again, whether or not it had arrived."""
    bot.fake.fault("respond", [fault])
    used = await bot.slash("ask", question="x")
    await bot.until(lambda: used.texts)
    assert used.texts == ["Yes."]


# What is amiss.


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (2, {"id": "1", "name": "nonsense", "type": 1}),
        (2, {"id": "1", "name": "persona", "type": 1}),
        (2, {"id": "1", "name": "persona", "type": 1, "options": [{"name": "eat", "type": 1}]}),
        (2, {"id": "1", "name": "ask", "type": 1, "options": [{"name": "x", "type": 2}]}),
        (2, {"id": "1", "name": "Translate", "type": 3, "target_id": "5"}),
        (2, {"id": "1", "name": "Why?", "type": 3, "target_id": "5"}),
        (2, {"id": "1", "name": "Greet", "type": 2, "target_id": "5"}),
        (2, {"name": 5}),
        (COMPONENT, {"custom_id": "someone-elses", "component_type": 2}),
    ],
)
async def test_what_we_do_not_know(bot: InteractingBot, kind: int, data: dict[str, Any]) -> None:
    """A command from before, or a foreign one, gets a kind sentence, and only who used it sees
    that."""
    used = await bot.fake.interact(bot.ada, bot.channel, data, kind=kind)
    await bot.until(lambda: used.texts)
    assert used.whispers == [UNKNOWN]
    assert bot.heard == []


@pytest.mark.parametrize("kind", [COMPONENT, FORM])
async def test_controls_and_forms_of_the_settings(bot: InteractingBot, kind: int) -> None:
    """They lead to the settings, which answer by a message of their own."""
    data = {"custom_id": f"acore-set:guild:{bot.guild.id}::back", "component_type": 2}
    used = await bot.fake.interact(
        bot.ada,
        bot.channel,
        {**data, "components": []},
        kind=kind,
        permissions=MANAGE_GUILD,
        message=bot.fake.world.post(bot.fake.bot_user, bot.channel, "Settings"),
    )
    await bot.until(lambda: used.response)
    await bot.done()
    assert used.response is not None
    assert used.response["type"] in {4, 7}


async def test_a_form_that_is_not_ours(bot: InteractingBot) -> None:
    """It is said that we do not know what it was about."""
    data = {"custom_id": "acore:ask:77", "components": []}
    used = await bot.fake.interact(bot.ada, bot.channel, data, kind=FORM)
    await bot.until(lambda: used.texts)
    assert used.whispers == [STALE]


async def test_who_types_while_we_stop_is_offered_nothing(bot: InteractingBot) -> None:
    """While somebody types, Discord takes no words: there are no choices."""
    bot.listener.is_stopping = True
    used = await bot.type("persona set", "name", "x")
    await bot.until(lambda: used.response)
    assert used.response == {"type": 8, "data": {"choices": []}}


async def test_typing_that_nobody_understands_is_offered_nothing(bot: InteractingBot) -> None:
    """It is answered as what is typed is, too."""
    used = await bot.fake.interact(bot.ada, bot.channel, {"options": "?"}, kind=AUTOCOMPLETE)
    await bot.until(lambda: used.response)
    assert used.response == {"type": 8, "data": {"choices": []}}


async def test_no_other_limit_delays_the_first_word(bot: InteractingBot) -> None:
    """While Discord makes us wait with everything else, commands are acknowledged."""
    bot.client.http._global_over.clear()
    try:
        used = await bot.slash("ask", question="x")
        await bot.until(lambda: used.response)
        assert used.texts == []
    finally:
        bot.client.http._global_over.set()


@pytest.mark.parametrize("path", ["ask", "stats"])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NotFound("There is no such persona."), "There is no such persona."),
        (ValueError("secret"), Unexpected().public),
    ],
)
async def test_errors_are_whispered(
    bot: InteractingBot,
    path: str,
    error: Exception,
    sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong, the person alone reads a sentence fit for them, and no promise stays
    open; what is our own fault is in the log."""

    async def script(_: Heard, __: ReplyTarget) -> None:
        raise error

    bot.listener.script = script
    used = await bot.slash(path, **({"question": "x"} if path == "ask" else {}))
    await bot.until(lambda: used.texts)
    await bot.done()
    assert used.whispers == [sentence]
    assert not used.is_thinking
    assert ("secret" in caplog.text) == isinstance(error, ValueError)


async def test_an_error_after_the_first_words(bot: InteractingBot) -> None:
    """What was shown stays."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("So far.", final=True)
        raise NotFound("There is no more.")

    bot.listener.script = script
    used = await bot.slash("ask", question="x")
    await bot.until(lambda: len(used.texts) == 2)
    assert used.texts == ["So far.", "There is no more."]
    assert used.whispers == ["There is no more."]


async def test_a_place_that_is_gone_is_no_news(bot: InteractingBot) -> None:
    """There is nobody left to tell."""

    async def script(_: Heard, __: ReplyTarget) -> None:
        raise TargetGone("Gone.")

    bot.listener.script = script
    used = await bot.slash("ask", question="x")
    await bot.until(lambda: used.is_removed)
    await bot.done()
    assert used.texts == []


async def test_why_may_fail(bot: InteractingBot) -> None:
    """An error of the core is told as any other."""
    bot.core.failure = NotFound("I do not know.")
    used = await bot.open_menu("Why?", bot.fake.world.post(bot.ada, bot.channel, "Tea?"))
    await bot.until(lambda: used.texts)
    assert used.whispers == ["I do not know."]


# When the bot stops.


async def test_who_comes_while_we_stop(bot: InteractingBot) -> None:
    """They are told to ask again."""
    bot.listener.is_stopping = True
    used = await bot.slash("ask", question="x")
    await bot.until(lambda: used.texts)
    assert used.whispers == [RESTARTING]
    assert bot.heard == []


@pytest.mark.parametrize("path", ["ask", "stats"])
async def test_who_waits_when_we_stop(bot: InteractingBot, path: str) -> None:
    """No answer comes after a restart, as it does to messages, so they are told to ask again."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        async with target.typing():
            await asyncio.Event().wait()

    bot.listener.script = script
    used = await bot.slash(path, **({"question": "x"} if path == "ask" else {}))
    await bot.until(lambda: bot.heard)
    (task,) = bot.listener.tasks
    task.cancel()
    await bot.until(lambda: used.texts)
    await bot.done()
    assert bot.listener.cancelled == 1
    assert used.whispers == [STOPPED]


async def test_who_was_being_answered_when_we_stop(bot: InteractingBot) -> None:
    """The core marks what was said, and nothing else is said."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("So far")
        await asyncio.Event().wait()

    bot.listener.script = script
    used = await bot.slash("ask", question="x")
    await bot.until(lambda: used.texts)
    (task,) = bot.listener.tasks
    task.cancel()
    await bot.done()
    assert used.texts == ["So far"]


async def test_the_token_is_in_no_log(
    bot: InteractingBot, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has it could speak in our name for a quarter of an hour."""
    bot.fake.fault("edit_original", lambda _: Fail(401, 50027))
    bot.fake.fault("delete_original", lambda _: Fail(404, 10015))
    used = await bot.slash("ask", question="x")
    await asked(bot)
    messages = [record.getMessage() for record in caplog.records if record.levelno > 10]
    assert messages
    assert not any(used.token in message for message in messages)


async def test_the_owner_lets_the_settings_be_read_anew(bot: InteractingBot) -> None:
    """Who owns the application reads what came of it, alone; it need not be who manages the
    server."""

    async def reload() -> str:
        return "In force now: chat.model."

    bot.listener.router = Router(bot.means, bot.core, reload=reload)
    application = bot.client.application
    assert application is not None
    application.owner = bot.client.get_user(bot.ada.id) or discord.Object(bot.ada.id)  # type: ignore[assignment]
    used = await bot.slash("settings reload")
    await bot.until(lambda: used.texts)
    assert used.whispers == ["In force now: chat.model."]


async def test_a_long_complaint_reaches_the_owner(bot: InteractingBot) -> None:
    """Of a file with many faults they read as many as one message holds."""

    async def reload() -> str:
        return "The settings stay as they are: " + "This is wrong. " * 300

    bot.listener.router = Router(bot.means, bot.core, reload=reload)
    application = bot.client.application
    assert application is not None
    application.owner = discord.Object(bot.ada.id)  # type: ignore[assignment]
    used = await bot.slash("settings reload")
    await bot.until(lambda: used.texts)
    (text,) = used.whispers
    assert text.startswith("The settings stay as they are: This is wrong.")
    assert text.endswith("…")


@pytest.mark.parametrize(("state", "may"), [(2, True), (1, False)])
async def test_members_of_a_team_are_its_owners(bot: InteractingBot, state: int, may: bool) -> None:
    """Who belongs to the team that owns the application may; who was only invited may not yet."""

    async def reload() -> str:
        return "In force now: chat.model."

    bot.listener.router = Router(bot.means, bot.core, reload=reload)
    application = bot.client.application
    assert application is not None
    person = {"id": str(bot.ada.id), "username": "ada", "discriminator": "0", "avatar": None}
    member = {"user": person, "membership_state": state, "role": "developer"}
    team = {"id": "1", "name": "us", "icon": None, "owner_user_id": "7", "members": [member]}
    application.team = discord.Team(bot.client._connection, team)  # type: ignore[arg-type]
    used = await bot.slash("settings reload")
    await bot.until(lambda: used.texts)
    assert used.whispers == ["In force now: chat.model." if may else NOT_MY_OWNER]


async def test_nobody_else_lets_the_settings_be_read_anew(bot: InteractingBot) -> None:
    """Who manages a server is told kindly that this is the owner's."""
    called: list[str] = []

    async def reload() -> str:
        called.append("reload")
        return ""

    bot.listener.router = Router(bot.means, bot.core, reload=reload)
    used = await bot.slash("settings reload", permissions=MANAGE_GUILD)
    await bot.until(lambda: used.texts)
    assert used.whispers == [NOT_MY_OWNER]
    assert not called
