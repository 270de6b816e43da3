"""What is made of whatever Discord may send, and of what it has never sent before."""

from types import SimpleNamespace
from typing import Any, cast

import discord
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.interacting import slash_data

from acore_bot.frontends.discord.interactions import heard

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=9), below),
    max_leaves=12,
)
keys = st.sampled_from(
    ["name", "type", "options", "value", "focused", "resolved", "messages", "target_id",
     "attachments", "custom_id", "components", "component"]
)  # fmt: skip
likely = st.recursive(
    json_values,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(keys, below, max_size=6),
    max_leaves=20,
)


def interaction_of(data: object) -> discord.Interaction:
    """Stand for an interaction with these data."""
    return cast("discord.Interaction", SimpleNamespace(data=data))


@given(st.dictionaries(keys, likely))
def test_wild_data_are_refused_in_one_way(data: dict[str, Any]) -> None:
    """Whatever comes, it is a command or a form of ours, or a single kind of error."""
    for read in (heard.command_of, heard.form_of):
        try:
            read(interaction_of(data))
        except msgspec.ValidationError:
            continue
    heard.custom_id_of(interaction_of(data))


@pytest.mark.parametrize("data", [None, {}, {"custom_id": 5}])
def test_a_form_without_a_name(data: object) -> None:
    """It is named by nothing that anybody knows."""
    assert heard.custom_id_of(interaction_of(data)) in {"", "5"}


@given(st.text(), st.text())
def test_what_was_typed_arrives_as_it_is(question: str, name: str) -> None:
    """Texts are neither cut nor changed."""
    command = heard.command_of(interaction_of(slash_data("compare models", question=question)))
    assert command.path == ("compare", "models")
    assert command.text("question") == question
    assert command.text("first") == ""
    command = heard.command_of(interaction_of(slash_data("persona set", name=name)))
    assert command.text("name") == name
