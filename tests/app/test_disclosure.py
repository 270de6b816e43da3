"""What `/privacy show` says is true of the bot as it is set up, whichever way that is."""

import itertools
import random
from pathlib import Path

import pytest
from msgspec import Struct

from acore_bot.app.towers import open_app
from acore_bot.config import load
from acore_bot.messages import Author, IncomingCommand, Place

ADA = Author("17", "Ada")
TABLES = """
[providers.openrouter]
api_key = "sk-or-1"
provider = {{ data_collection = "{collection}" }}
[providers.other]
kind = "openai"
base_url = "https://api.other.example/v1"
api_key = "sk-1"
[providers.lan]
kind = "ollama"
base_url = "http://10.1.2.3:11434"
local = true
[providers.demo]
kind = "scripted"
"""
HERE, OWNERS = "on this machine", "on a server of the owner"
WHERE = {
    "demo/script": HERE,
    "lan/large": OWNERS,
    "openrouter/some/model": "in a cloud, openrouter.ai",
    "other/model": "in a cloud, api.other.example",
    "embedded/smollm2": HERE,
}


class Setup(Struct, frozen=True):
    """One way to set the bot up."""

    model: str
    fallbacks: tuple[str, ...]
    embedded: bool
    local_only: bool
    days: int | None
    cached: int
    collection: str

    def text(self, folder: Path) -> str:
        """Write it as a settings file."""
        days = f"retention_days = {self.days}\n" if self.days else ""
        return (
            f'[data]\ndirectory = "{folder}"\n'
            f'[chat]\nmodel = "{self.model}"\nlocal_only = {str(self.local_only).lower()}\n'
            f"[failover]\nmodels = {[*self.fallbacks]}\nembedded = {str(self.embedded).lower()}\n"
            f"[privacy]\n{days}"
            f"[response_cache]\nenabled = {str(self.cached > 0).lower()}\n"
            f"ttl_seconds = {self.cached or 1}\n"
        ) + TABLES.format(collection=self.collection)

    def recipients(self) -> list[str]:
        """Name, in order, who may answer."""
        others = [*self.fallbacks, *(["embedded/smollm2"] if self.embedded else [])]
        if not self.local_only:
            return list(dict.fromkeys((self.model, *others)))
        local = [name for name in (self.model, *others) if WHERE[name] in {HERE, OWNERS}]
        return list(dict.fromkeys(local))


ALL = [
    Setup(*drawn)
    for drawn in itertools.product(
        WHERE.keys() - {"embedded/smollm2"},
        [(), ("other/model",), ("lan/large", "openrouter/some/model")],
        [True, False],
        [True, False],
        [None, 1, 30],
        [0, 300],
        ["deny", "allow"],
    )
]
SOME = random.Random(7).sample(sorted(ALL, key=str), 40)


@pytest.mark.parametrize("setup", SOME, ids=range(len(SOME)))
async def test_p7_what_is_shown_is_true_of_the_running_bot(tmp_path: Path, setup: Setup) -> None:
    """Exactly those who may be sent what is said are named, in order, each as local or cloud, with
    how long it stays and how long answers are given again."""
    file = tmp_path / "acore.toml"
    file.write_text(setup.text(tmp_path / "data"))
    command = IncomingCommand(
        conversation="tea", author=ADA, name="privacy", argument="show", place=Place("home", "tea")
    )
    async with open_app(load(file, environ={})) as bot:
        shown = str(await bot.core.commands.run(command))

    named = [f"**{name}** ({WHERE[name]})" for name in setup.recipients()]
    told = [f"**{name}**" for name in WHERE if f"**{name}**" in shown]
    assert all(name in shown for name in named)
    assert len(told) == len(named)
    assert ("No model may answer here" in shown) is (not named)
    assert [*named] == sorted(named, key=shown.index)
    has_clouds = any("in a cloud" in name for name in named)
    assert ("in a cloud" in shown) is has_clouds
    assert ("kept from clouds" in shown) is setup.local_only
    collects = {"deny": "to those who do not collect it", "allow": "to those who collect it"}
    assert (collects[setup.collection] in shown) is has_clouds
    stays = {None: "until somebody has me forget it", 1: "for 1 day.", 30: "for 30 days."}
    assert f"What was said stays {stays[setup.days]}" in shown
    again = f"for {setup.cached} seconds" if setup.cached else "never"
    assert f"to the same question {again}." in shown
    assert "I store what you say to me and my answers" in shown
