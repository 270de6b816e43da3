"""The settings of a server as people see and use them, on a simulated Discord."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import discord
import pytest
import simcord
from discord import app_commands
from simcord.results import InteractionResult
from tests.fakes.plain_preferences import PlainPreferences

from acore_bot.chat.policy import Policies, Policy
from acore_bot.contracts import Core, Knob, Scope
from acore_bot.errors import NotFound, Unexpected
from acore_bot.frontends.discord.panel import (
    NOT_HERE,
    NOT_YOURS,
    STALE,
    is_panel,
    open_panel,
    turn_panel,
)
from acore_bot.messages import Place

DEFAULT = Policy(persona="persona-00", model="embedded/smollm2")
MANAGER = discord.Permissions(
    manage_guild=True, view_channel=True, use_application_commands=True, read_message_history=True
)


def known_model(name: str) -> str:
    """Know the models of one provider."""
    if not name.startswith("ollama/"):
        raise NotFound(f"There is no {name}.", remedy="Try ollama/llama.")
    return name


class Settings:
    """What a panel asks of the core. `failure` is raised when something is changed."""

    def __init__(self, personas: int = 3) -> None:
        names = [(f"persona-{n:02}", f"The {n}th_one") for n in range(personas)]
        self.store = PlainPreferences()
        self.policies = Policies(
            self.store, DEFAULT, personas=lambda: names, knows_model=known_model
        )
        self.failure: Exception | None = None

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Return the settings."""
        return self.policies.knobs(place, scope, target)

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Change a setting."""
        if self.failure:
            raise self.failure
        await self.policies.turn_knob(guild, scope, target, name, value)


class Client(discord.Client):
    """A client that has a panel and nothing else, and remembers what it sent to Discord."""

    def __init__(self, core: Settings) -> None:
        super().__init__(intents=discord.Intents(guilds=True))
        self.core = core
        self.sent: list[dict[str, Any]] = []
        self.tree = app_commands.CommandTree(self)
        self.tree.command(name="settings", description="Settings.")(self._open)

    async def setup_hook(self) -> None:
        """Register the command, and listen to what goes out."""
        request = self.http.request

        async def remembered(route: discord.http.Route, **more: Any) -> Any:  # noqa: ANN401
            if route.path.endswith("/callback"):
                self.sent.append(more["json"])
            if route.path.endswith("/messages/@original"):
                self.sent.append({"type": 7, "data": more["json"]})
            return await request(route, **more)

        await self.tree.sync()
        self.http.request = remembered  # type: ignore[method-assign]

    async def _open(self, interaction: discord.Interaction) -> None:
        await open_panel(self, interaction, cast("Core", self.core))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Hand on what a panel's controls say."""
        data = cast("dict[str, Any]", interaction.data)
        if is_panel(data.get("custom_id", "")):
            await turn_panel(self, interaction, cast("Core", self.core))


class Town:
    """A server with a manager, who uses the panel as people do: by what it shows."""

    def __init__(self, env: simcord.Env, client: Client, core: Settings) -> None:
        self.env, self.client, self.core = env, client, core
        self.guild = env.create_guild("Home")
        self.talk = self.guild.create_text_channel("talk")
        self.guests = self.guild.create_role("Guests")
        self.managers = self.guild.create_role("Managers", permissions=MANAGER)
        self.ada = self.guild.add_member(env.create_user("ada"), roles=[self.managers])
        self.bo = self.guild.add_member(env.create_user("bo"))
        self.shown: InteractionResult | None = None

    async def open(self) -> str:
        """Ask for the panel, and return its text."""
        self.shown = await self.ada.slash(self.talk, "settings")
        return self.text

    @property
    def message(self) -> Any:  # noqa: ANN401
        """The panel's message."""
        assert self.shown is not None
        assert self.shown.response is not None
        return self.shown.response

    @property
    def text(self) -> str:
        """What the panel says."""
        return str(self.message.content)

    @property
    def controls(self) -> list[dict[str, Any]]:
        """The panel's controls, row by row."""
        return [one for row in self.message.components for one in row["components"]]

    def control(self, what: str) -> dict[str, Any]:
        """Find the control that does something."""
        return next(one for one in self.controls if one["custom_id"].endswith(f":{what}"))

    async def pick(self, what: str, *values: Any) -> str:  # noqa: ANN401
        """Choose from a list, and return the panel's text."""
        custom_id = self.control(what)["custom_id"]
        await self.ada.select(self.message, values, custom_id=custom_id)
        return self.text

    async def click(self, label: str) -> InteractionResult:
        """Press a button."""
        return await self.ada.click(self.message, label=label)

    async def write(self, text: str) -> str:
        """Type a value into the form, and return the panel's text."""
        form = await self.click("Change…")
        await self.ada.submit_modal(form, {"value": text})
        return self.text

    async def forge(self, custom_id: str, values: Sequence[str] = (), member: Any = None) -> str:  # noqa: ANN401
        """Use a control that the panel does not show, and return what is shown then."""
        member = member or self.ada
        stored = self.env.backend.get_message(self.talk.id, self.message.id)
        row = {"type": 1, "components": [forged(custom_id, values)]}
        stored.components = [row]
        if member is not self.ada:
            stored.flags = 0  # as if it could be seen by others
        if values:
            await member.select(self.message, values, custom_id=custom_id)
        else:
            await member.click(self.message, custom_id=custom_id)
        return self.text

    def policy(self, channel: str = "", *roles: str) -> Policy:
        """Find what holds in the server."""
        return self.core.policies.of(Place(str(self.guild.id), channel), roles)


def forged(custom_id: str, values: Sequence[str]) -> dict[str, Any]:
    """Make a button, or a list with these values."""
    if not values:
        return {"type": 2, "style": 2, "label": "x", "custom_id": custom_id}
    options = [{"label": value, "value": value} for value in values]
    return {"type": 3, "custom_id": custom_id, "options": options}


@asynccontextmanager
async def town(personas: int = 3) -> AsyncIterator[Town]:
    """Run a simulated Discord with a server, whose manager has not opened the panel yet."""
    core = Settings(personas)
    client = Client(core)
    async with simcord.run(client) as env:
        yield Town(env, client, core)


async def test_a_manager_sees_all_settings() -> None:
    """The command shows, to its user alone, each setting of the server with its value."""
    async with town() as home:
        text = await home.open()
        assert home.message.ephemeral
        assert "of this server" in text
        assert "Answers: when asked" in text
        assert "Persona: The 0th\\_one" in text
        assert "Tokens in all: no limit" in text
        assert [one["type"] for one in home.controls] == [3, 3, 6]
        assert len(home.control("knob")["options"]) == 18


async def test_others_see_nothing() -> None:
    """Who may not manage the server is told so, and gets no controls."""
    async with town() as home:
        shown = await home.bo.slash(home.talk, "settings")
        assert shown.response is not None
        assert shown.response.ephemeral
        assert shown.response.content == NOT_YOURS
        assert shown.response.components == []


async def test_a_choice_is_made_and_seen() -> None:
    """Choosing a setting shows it, and choosing a value stores and shows that."""
    async with town() as home:
        await home.open()
        text = await home.pick("knob", "answers")
        assert "What is answered" in text
        assert "Now: when asked (as in the wider setting)" in text
        text = await home.pick("choose", "everything")
        assert text.startswith("> Saved. Answers: everything\n")
        assert "**Answers: everything**" in text
        assert home.policy().rules.everything
        text = await home.pick("knob", "answers")
        assert "Now: **everything** (set here)" in text
        defaults = [one["value"] for one in home.control("choose")["options"] if one["default"]]
        assert defaults == ["everything"]


async def test_a_setting_follows_the_wider_one_again() -> None:
    """A button takes a setting back, and is off where nothing is set."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "replies")
        assert home.control("wider")["disabled"]
        await home.pick("choose", "no")
        await home.pick("knob", "replies")
        await home.click("As in the wider setting")
        assert "Answers replies: yes" in home.text
        assert home.policy() == DEFAULT
        assert home.core.store.settings == {}


async def test_a_value_is_typed() -> None:
    """What is not on a list is typed into a form, which holds what is there now."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "guild_tokens")
        text = await home.write("50,000")
        assert "**Tokens in all: 50000**" in text
        await home.pick("knob", "guild_tokens")
        form = await home.click("Change…")
        assert form.modal is not None
        assert form.modal["title"] == "Tokens in all"
        assert form.modal["components"][0]["components"][0]["value"] == "50000"
        await home.ada.submit_modal(form, {"value": ""})
        assert "**Tokens in all: no limit**" in home.text


async def test_a_wrong_value_is_answered_kindly() -> None:
    """What cannot be is said at the top, with what could be, and the form is at hand again."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "retention_days")
        text = await home.write("a [week](http://evil.example) @everyone")
        assert text.startswith("> “Keeps messages” cannot be")
        assert "from 1 to 3650" in text
        assert "](" not in text
        assert home.core.store.settings == {}
        assert "**Keeps messages: 7 days**" in await home.write("7")


async def test_a_channel_has_settings_of_its_own() -> None:
    """What is set for a channel holds there only, and what is the server's alone is not listed."""
    async with town() as home:
        await home.open()
        text = await home.pick("scope", "channel")
        assert f"of <#{home.talk.id}>" in text
        assert "Tokens in all" not in text
        await home.pick("knob", "memory")
        await home.pick("choose", "person")
        assert "**Conversation: one for each person**" in home.text
        assert home.policy(str(home.talk.id)).memory == "person"
        assert home.policy().memory == "shared"
        assert "Conversation: shared by all" in await home.pick("scope", "guild")


async def test_a_thread_shares_the_settings_of_its_channel() -> None:
    """Opened in a thread, the panel is about the channel that the thread belongs to."""
    async with town() as home:
        channel = home.client.get_channel(home.talk.id)
        assert isinstance(channel, discord.TextChannel)
        made = await channel.create_thread(
            name="aside", type=discord.ChannelType.public_thread, reason="a test"
        )
        await home.env.settle()
        [thread] = [one for one in home.talk.threads if one.id == made.id]
        home.shown = await home.ada.slash(thread, "settings")
        assert f"of <#{home.talk.id}>" in await home.pick("scope", "channel")


async def test_a_role_has_limits() -> None:
    """Picking a role shows what can be set for those who have it."""
    async with town() as home:
        await home.open()
        text = await home.pick("role", home.guests)
        assert f"for <@&{home.guests.id}>" in text
        assert text.count("\n") == 5
        await home.pick("knob", "person_tokens")
        await home.write("9")
        assert home.policy("", str(home.guests.id)).limits.person_tokens == 9
        assert home.policy().limits.person_tokens is None


async def test_roles_are_picked() -> None:
    """A setting that names roles is set by picking them, and shows them by name."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "users")
        text = await home.pick("choose", home.guests, home.managers)
        mentions = f"<@&{home.guests.id}> <@&{home.managers.id}>"
        assert f"**Who may use it: {mentions}**" in text
        assert home.policy().users == (str(home.guests.id), str(home.managers.id))
        await home.pick("knob", "users")
        picked = home.control("choose")["default_values"]
        assert [one["id"] for one in picked] == [str(home.guests.id), str(home.managers.id)]
        assert "**Who may use it: everyone**" in await home.pick("choose")


async def test_back_leads_back() -> None:
    """From a setting one comes back to the list, of the same channel."""
    async with town() as home:
        await home.open()
        await home.pick("scope", "channel")
        await home.pick("knob", "threads")
        await home.click("Back")
        assert f"of <#{home.talk.id}>" in home.text


async def test_many_choices_are_paged() -> None:
    """More choices than a list may hold come on pages, in a circle, and each can be chosen."""
    async with town(personas=60) as home:
        await home.open()
        await home.pick("knob", "persona")
        seen = []
        for _ in range(3):
            options = home.control("choose")["options"]
            assert len(options) <= 25
            seen += [one["value"] for one in options]
            last = home.controls[-1]["label"]
            await home.click(last)
        assert seen == [f"persona-{n:02}" for n in range(60)]
        await home.click(home.controls[-1]["label"])
        await home.pick("choose", "persona-30")
        assert home.policy().persona == "persona-30"


async def test_a_panel_works_after_a_restart() -> None:
    """All that a panel knows stands in its ids: it needs nothing that a process remembers."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "replies")
        custom_ids = [one["custom_id"] for one in home.controls]
        guild = home.guild.id
        assert custom_ids == [
            f"acore-set:guild:{guild}:replies:{what}" for what in ("choose", "back", "wider")
        ]
        home.client.core = home.core = Settings()
        assert "**Answers replies: no**" in await home.pick("choose", "no")
        assert not home.policy().rules.replies


async def test_the_longest_panel_fits() -> None:
    """With all set to the longest there is, text and ids stay within Discord's limits."""
    async with town() as home:
        guild = str(home.guild.id)
        roles = [home.guild.create_role(f"r{n}") for n in range(25)]
        for name, value in {
            "names": ",".join(f"{n}{'*' * 31}" for n in range(10)),
            "model": "ollama/" + "_" * 193,
            "users": " ".join(str(role.id) for role in roles),
            "choosers": " ".join(str(role.id) for role in roles),
            "person_tokens": "1" + "0" * 12,
            "guild_dollars": "999999999.999999",
        }.items():
            await home.core.turn_knob(guild, "guild", guild, name, value)
        assert len(await home.open()) <= 2000
        assert "When a limit is reached" in home.text
        assert "and 22 more" in home.text
        for name in ("names", "model", "users"):
            assert len(await home.pick("knob", name)) <= 2000
            assert all(len(one["custom_id"]) <= 100 for one in home.controls)
            await home.click("Back")


async def test_a_change_is_acknowledged_before_it_is_stored() -> None:
    """However slow the store is, Discord does not tell that the bot failed."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "replies")
        seen: list[int] = []
        turn = home.core.turn_knob

        async def turn_knob(*what: Any) -> None:  # noqa: ANN401
            seen.append(home.client.sent[-1]["type"])
            await turn(*what)

        home.core.turn_knob = turn_knob  # type: ignore[method-assign, assignment]
        assert "Saved." in await home.pick("choose", "no")
        assert seen == [6]


# S10: nobody is pinged.


async def test_s10_no_panel_pings_or_previews() -> None:
    """Every message of a panel forbids all mentions and all previews of links."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "choosers")
        await home.pick("choose", home.guests)
        await home.pick("knob", "names")
        await home.write("x" * 33)
        await home.write("@everyone, <@&1>, http://evil.example")
        messages = [one["data"] for one in home.client.sent if one["type"] in {4, 7}]
        assert len(messages) == 6
        for message in messages:
            assert message["allowed_mentions"] == {"parse": []}
            assert message["flags"] & 4


# S25: forged and stale controls.


async def test_s25_a_right_that_is_gone_is_gone_at_once() -> None:
    """Each use asks for the right anew, so an open panel does nothing for who lost it."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "replies")
        home.env.backend.get_guild(home.guild.id).members[home.ada.id].role_ids.clear()
        assert await home.pick("choose", "no") == NOT_YOURS
        assert home.controls == []
        assert home.core.store.settings == {}


async def test_s25_another_persons_panel_needs_the_right_too() -> None:
    """Whoever gets hold of a control without the right changes nothing by it."""
    async with town() as home:
        await home.open()
        guild = home.guild.id
        for what in ("choose", "wider", "knob", "type", "typed", "page1"):
            custom_id = f"acore-set:guild:{guild}:replies:{what}"
            await home.forge(custom_id, ["no"], member=home.bo)
            assert home.text == NOT_YOURS
        assert home.core.store.settings == {}


async def test_s25_another_servers_settings_are_out_of_reach() -> None:
    """An id that names another server, or what belongs to one, changes nothing anywhere."""
    async with town() as home:
        away = home.env.create_guild("Away")
        channel, role = away.create_text_channel("far"), away.create_role("Strangers")
        await home.open()
        for scope, target in [
            ("guild", away.id),
            ("channel", channel.id),
            ("role", role.id),
            ("channel", home.guests.id),
            ("role", home.talk.id),
            ("guild", home.talk.id),
        ]:
            for what, value in (("choose", "yes"), ("wider", "x"), ("knob", "local_only")):
                text = await home.forge(f"acore-set:{scope}:{target}:local_only:{what}", [value])
                assert text.startswith(f"> {STALE}")
                assert "of this server" in text
        await home.forge(f"acore-set:guild:{home.guild.id}::role", [str(role.id)])
        assert home.text.startswith(f"> {STALE}")
        assert home.core.store.settings == {}


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "guild",
        "guild:{guild}:replies",
        "galaxy:{guild}:replies:choose",
        "guild:{guild}:replies:choose:more",
        "guild:{guild}:tone:choose",
        "guild:{guild}:tone:type",
        "guild:{guild}::choose",
        "guild:{guild}::type",
        "guild:{guild}:REPLIES:choose",
        "guild:-1:replies:choose",
        "guild:{guild}0:replies:choose",
        "role:{guild}:replies:choose",
    ],
)
async def test_s25_a_control_of_another_version_is_answered(rest: str) -> None:
    """What a control says that is not understood leads to the list as it is now."""
    async with town() as home:
        await home.open()
        text = await home.forge("acore-set:" + rest.format(guild=home.guild.id), ["no"])
        assert text.startswith(f"> {STALE}")
        assert len(home.controls) == 3
        assert home.core.store.settings == {}


async def test_a_server_without_the_bot_has_no_settings() -> None:
    """Where only the command is installed, nothing can be set, and that is said."""
    async with town() as home:
        home.client._connection._guilds.clear()
        assert await home.open() == NOT_HERE


async def test_an_own_fault_is_told() -> None:
    """Whatever breaks, the person gets a sentence, and the log what it was."""
    async with town() as home:
        await home.open()
        await home.pick("knob", "replies")
        home.core.failure = RuntimeError("a secret")
        assert await home.pick("choose", "no") == Unexpected().public.replace("\n", " ")


def test_only_its_own_controls_are_a_panels() -> None:
    """Buttons under answers are not a panel's."""
    assert is_panel("acore-set:guild:1:replies:choose")
    assert not is_panel("acore:stop")
    assert not is_panel("")
