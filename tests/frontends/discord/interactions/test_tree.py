"""The commands as Discord is told of them, against Discord's own rules."""

import re
from collections.abc import Iterator

from acore_bot.frontends.discord.addresses import Payload
from acore_bot.frontends.discord.interactions import tree
from acore_bot.frontends.discord.interactions.tree import payloads

SUBCOMMAND = 1


def parts_of(command: Payload) -> Iterator[Payload]:
    """Yield a command, its subcommands and all their options."""
    yield command
    for option in command.get("options", ()):
        yield from parts_of(option)


def size_of(command: Payload) -> int:
    """Count the characters that Discord counts."""
    return sum(len(one["name"]) + len(one.get("description", "")) for one in parts_of(command))


def command_named(name: str) -> Payload:
    """Return a command."""
    (found,) = (one for one in payloads() if one["name"] == name)
    return found


def test_there_are_not_too_many_and_none_is_too_large() -> None:
    """A hundred slash commands, 15 menus, 8,000 characters each and 25 options are the most."""
    slash = [one for one in payloads() if one["type"] == tree.SLASH]
    assert len(slash) <= 100
    assert len(payloads()) - len(slash) <= 15
    for part in (part for command in payloads() for part in parts_of(command)):
        assert len(part.get("options", ())) <= 25
    assert all(size_of(command) <= 8_000 for command in payloads())


def test_names_are_ones_that_discord_takes() -> None:
    """Of slash commands and options they are lower case without spaces, all have at most 32
    characters, and none appears twice at one level."""
    names = [(one["type"], one["name"]) for one in payloads()]
    assert len(set(names)) == len(names)
    for command in payloads():
        for part in parts_of(command):
            pattern = (
                r"[\w -?]{1,32}" if part is command and part["type"] != 1 else r"[a-z_-]{1,32}"
            )
            assert re.fullmatch(pattern, part["name"])
            below = [one["name"] for one in part.get("options", ())]
            assert len(set(below)) == len(below)


def test_descriptions_are_short_and_menus_have_none() -> None:
    """Discord shows a hundred characters; of a menu it shows the name alone."""
    for command in payloads():
        for part in parts_of(command):
            is_menu = part is command and part["type"] == tree.MESSAGE_MENU
            assert ("description" in part) != is_menu
            assert is_menu or 1 <= len(part["description"]) <= 100


def test_what_is_typed_is_bounded_and_what_must_be_comes_first() -> None:
    """Every text has a length, every suggestion fits into one, and optional ones come last."""
    for part in (part for command in payloads() for part in parts_of(command)):
        if part["type"] == 3 and "required" in part:
            assert 1 <= part["max_length"] <= (tree.MAX_NAME if "autocomplete" in part else 2000)
        needed = [one.get("required", False) for one in part.get("options", ())]
        assert needed == sorted(needed, reverse=True)


def test_subcommands_stand_alone() -> None:
    """A command has subcommands or options, not both, as Discord wants it."""
    for command in payloads():
        kinds = {one["type"] == SUBCOMMAND for one in command.get("options", ())}
        assert len(kinds) <= 1


def test_where_each_may_be_used() -> None:
    """All are there for guilds and for users, in every kind of chat, but for those that are about a
    server."""
    for command in payloads():
        installs, contexts = command["integration_types"], command["contexts"]
        match command["name"]:
            case "settings" | "doctor" | "compare":
                assert (installs, contexts) == ([0], [0])
            case "reset":
                assert (installs, contexts) == ([0], [0, 1])
            case _:
                assert (installs, contexts) == ([0, 1], [0, 1, 2])


def test_what_is_for_managers() -> None:
    """Settings and the doctor are offered to those who manage the server, unless it decides
    otherwise."""
    names = {one["name"] for one in payloads() if "default_member_permissions" in one}
    assert names == {"settings", "doctor"}
    assert command_named("settings")["default_member_permissions"] == str(0x20)


def test_every_path_is_known() -> None:
    """What is public, and what the bot treats on its own, is there."""
    paths = tree.paths()
    assert paths >= tree.PUBLIC
    assert {tree.SETTINGS, tree.RELOAD, tree.ASK, tree.CHAT, tree.COMPARE} <= paths
    assert ("persona",) not in paths
    assert ("privacy", "export") in paths
