"""What owners decided: which decision holds, what it can be, and that it lasts."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.plain_preferences import PlainPreferences

from acore_bot.chat.attention import Rules
from acore_bot.chat.policy import EVERYONE, Limits, Policies, Policy, may_choose, may_use
from acore_bot.chat.policy.policies import MAX_COMPILED
from acore_bot.contracts import Knob, Scope, Setting
from acore_bot.errors import ConfigurationError, HistoryError, NotFound, UnknownPlugin
from acore_bot.messages import Place

DEFAULT = Policy(persona="acore", model="embedded/smollm2", rules=Rules(bots=True))
HOME, TALK = Place("1", "10"), "10"
GUEST, MEMBER = "100", "101"
PERSONAS = [("acore", "Acore"), ("tutor", "Tutor")]


def known_model(name: str) -> str:
    """Know the models of one provider."""
    if not name.startswith("ollama/"):
        raise UnknownPlugin("There is no such provider in /home/ada/acore.toml.")
    return name


def make(*stored: Setting, default: Policy = DEFAULT) -> Policies:
    """Make policies over what was stored before."""
    return over(PlainPreferences(*stored), default)


def over(preferences: PlainPreferences, default: Policy = DEFAULT) -> Policies:
    """Make policies over a store."""
    return Policies(preferences, default, personas=lambda: PERSONAS, knows_model=known_model)


def knob(policies: Policies, scope: Scope, target: str, name: str) -> Knob:
    """Find a knob of the guild of these tests."""
    return {one.name: one for one in policies.knobs(HOME, scope, target)}[name]


async def test_a_place_without_settings_follows_the_file() -> None:
    """Where nobody set anything, the very policy of the file holds, and nothing is remembered."""
    policies = make()
    await policies.turn_knob("2", "guild", "2", "replies", "no")
    for number in range(100):
        assert policies.of(Place("1", str(number)), (GUEST,)) is DEFAULT
    assert policies.of(Place()) is DEFAULT
    assert policies._compiled == {}


async def test_the_narrower_setting_wins() -> None:
    """A channel's setting stands before the guild's, and that before the file's."""
    policies = make()
    await policies.turn_knob("1", "guild", "1", "persona", "tutor")
    await policies.turn_knob("1", "guild", "1", "answers", "everything")
    await policies.turn_knob("1", "channel", TALK, "answers", "nothing")
    assert policies.of(Place("1", "11")).rules == Rules(everything=True, bots=True)
    assert policies.of(HOME).rules == Rules(nothing=True, bots=True)
    assert policies.of(HOME).persona == "tutor"
    assert policies.of(Place("2", TALK)) is DEFAULT


async def test_a_setting_taken_back_follows_the_wider_one() -> None:
    """What was set can be let go, and the guild is as if nothing had ever been set."""
    policies = make()
    await policies.turn_knob("1", "channel", TALK, "memory", "person")
    await policies.turn_knob("1", "channel", TALK, "replies", "no")
    assert policies.of(HOME).memory == "person"
    await policies.turn_knob("1", "channel", TALK, "memory", None)
    assert policies.of(HOME).memory == "shared"
    assert not policies.of(HOME).rules.replies
    await policies.turn_knob("1", "channel", TALK, "replies", None)
    await policies.turn_knob("1", "channel", TALK, "replies", None)
    assert policies.of(HOME) is DEFAULT
    assert policies.guilds() == ()


async def test_a_choice_is_the_channels() -> None:
    """What people choose by a command holds in their channel, in private too."""
    policies = make()
    await policies.choose(HOME, "model", "ollama/llama")
    await policies.choose(Place("", "77"), "persona", "tutor")
    assert policies.of(HOME).model == "ollama/llama"
    assert policies.of(Place("1", "11")) == DEFAULT
    assert policies.of(Place("", "77")).persona == "tutor"
    assert policies.of(Place("", "78")) == DEFAULT
    assert policies.guilds() == ("1",)


async def test_what_was_set_outlives_a_restart() -> None:
    """Policies over the same store hold the same, value for value."""
    store = PlainPreferences()
    first = over(store)
    await first.turn_knob("1", "guild", "1", "person_dollars", "1.50")
    await first.turn_knob("1", "guild", "1", "retention_days", "")
    await first.turn_knob("1", "channel", TALK, "users", f"{GUEST} {MEMBER}")
    await first.turn_knob("1", "channel", TALK, "names", "Acore,  old  friend")
    await first.turn_knob("1", "role", GUEST, "local_only", "yes")
    second = over(store)
    await second.load()
    policy = second.of(HOME, (GUEST,))
    assert policy.limits.person_dollars == Decimal("1.50")
    assert policy.retention_days is None
    assert policy.users == (GUEST, MEMBER)
    assert policy.rules.names == ("Acore", "old friend")
    assert policy.is_local_only
    assert policy == first.of(HOME, (GUEST,))


async def test_what_could_not_be_stored_does_not_hold() -> None:
    """A setting takes effect after it is durable, so a full disk leaves all as it was."""
    store = PlainPreferences()
    policies = over(store)
    await policies.turn_knob("1", "channel", TALK, "replies", "no")
    before = policies.knobs(HOME, "channel", TALK)
    store.is_broken = True
    with pytest.raises(HistoryError):
        await policies.turn_knob("1", "channel", TALK, "replies", "yes")
    with pytest.raises(HistoryError):
        await policies.turn_knob("1", "channel", TALK, "replies", None)
    with pytest.raises(HistoryError):
        await policies.forget_guild("1")
    assert policies.knobs(HOME, "channel", TALK) == before
    assert not policies.of(HOME).rules.replies


async def test_a_guild_is_forgotten_wholly() -> None:
    """What was set in a guild leaves memory and store, and no other's does."""
    store = PlainPreferences()
    policies = over(store)
    for guild in ("1", "2"):
        await policies.turn_knob(guild, "guild", guild, "memory", "person")
        await policies.turn_knob(guild, "channel", TALK, "replies", "no")
        await policies.turn_knob(guild, "role", GUEST, "person_tokens", "5")
    assert policies.of(HOME, (GUEST,)) == policies.of(Place("2", TALK), (GUEST,))
    await policies.forget_guild("1")
    assert policies.of(HOME, (GUEST,)) is DEFAULT
    assert policies.guilds() == ("2",)
    assert not any(key[0] == "1" for key in policies._compiled)
    assert {one.guild for one in store.settings.values()} == {"2"}
    assert policies.of(Place("2", TALK)).memory == "person"


async def test_what_a_later_version_cannot_read_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Stored settings that mean nothing here cost one warning, and the others hold."""
    stored = [
        Setting("1", "guild", "1", "persona", '"tutor"'),
        Setting("1", "guild", "1", "tone", '"kind"'),
        Setting("1", "guild", "1", "replies", '"perhaps"'),
        Setting("1", "guild", "1", "retention_days", "0"),
        Setting("1", "guild", "1", "person_dollars", '"NaN"'),
        Setting("1", "guild", "1", "model", "{"),
        Setting("1", "channel", TALK, "guild_tokens", "5"),
        Setting("1", "galaxy", "1", "replies", "false"),  # type: ignore[arg-type]
    ]
    policies = make(*stored)
    with caplog.at_level(logging.WARNING):
        await policies.load()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "7 stored settings" in caplog.text
    assert "tone" in caplog.text
    assert policies.of(HOME) == structs.replace(DEFAULT, persona="tutor")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)


@given(
    name=st.sampled_from(["replies", "persona", "users", "guild_dollars", "names", "tone"]),
    value=st.text() | JSON.map(json.dumps),
)
@settings(max_examples=200)
async def test_no_stored_text_breaks_the_start(name: str, value: str) -> None:
    """Whatever a damaged store holds, the policies load and a policy is found."""
    policies = make(Setting("1", "guild", "1", name, value))
    await policies.load()
    assert isinstance(policies.of(HOME), Policy)


# Local-only, which is for safety.


async def test_local_only_of_the_server_holds_in_all_its_channels() -> None:
    """No channel switches off what the server wants, whichever was set first."""
    policies = make()
    await policies.turn_knob("1", "channel", TALK, "local_only", "no")
    await policies.turn_knob("1", "guild", "1", "local_only", "yes")
    assert policies.of(HOME).is_local_only
    with pytest.raises(NotFound, match="wider setting"):
        await policies.turn_knob("1", "channel", TALK, "local_only", "no")
    await policies.turn_knob("1", "guild", "1", "local_only", "no")
    assert not policies.of(HOME).is_local_only
    assert "all its channels" in knob(policies, "guild", "1", "local_only").description


async def test_local_only_of_the_file_holds_everywhere() -> None:
    """What the machine's owner wants to keep at home stays there, whatever a server sets."""
    stored = Setting("1", "guild", "1", "local_only", "false")
    policies = make(stored, default=structs.replace(DEFAULT, is_local_only=True))
    await policies.load()
    assert policies.of(HOME).is_local_only
    with pytest.raises(NotFound):
        await policies.turn_knob("1", "guild", "1", "local_only", "no")


async def test_local_only_of_any_role_holds() -> None:
    """Whoever has one role with it is kept local, and nobody else."""
    policies = make()
    await policies.turn_knob("1", "role", GUEST, "local_only", "yes")
    await policies.turn_knob("1", "role", MEMBER, "local_only", "no")
    assert policies.of(HOME, (MEMBER, GUEST)).is_local_only
    assert not policies.of(HOME, (MEMBER,)).is_local_only


# Roles.


@pytest.mark.parametrize(
    ("roles", "tokens"),
    [((), 10), ((GUEST,), 5), ((GUEST, MEMBER), 50), ((GUEST, "102"), None), (("103",), 10)],
)
async def test_the_most_generous_role_decides(roles: tuple[str, ...], tokens: int | None) -> None:
    """A role's limit stands in the place of everyone's, also if it is lower."""
    policies = make()
    await policies.turn_knob("1", "channel", TALK, "person_tokens", "10")
    for role, most in ((GUEST, "5"), (MEMBER, "50"), ("102", "")):
        await policies.turn_knob("1", "role", role, "person_tokens", most)
    assert policies.of(HOME, roles).limits.person_tokens == tokens


# What the file allows at most.

CEILINGS = ("retention_days", "person_tokens", "person_dollars", "guild_tokens", "guild_dollars")
ALLOWED = Limits(
    person_tokens=100,
    person_dollars=Decimal("0.5"),
    guild_tokens=1_000,
    guild_dollars=Decimal(5),
)
BOUNDED = structs.replace(DEFAULT, retention_days=30, limits=ALLOWED)


def limit(policy: Policy, name: str) -> Any:  # noqa: ANN401
    """Find a limit in a policy."""
    return policy.retention_days if name == "retention_days" else getattr(policy.limits, name)


@pytest.mark.parametrize("name", CEILINGS)
async def test_s17_no_server_passes_the_owners_limits(name: str) -> None:
    """Neither more than the file allows nor no limit at all can be set anywhere, and the sentence
    says what is the most; as much, or less, can."""
    store = PlainPreferences()
    policies, most = over(store, BOUNDED), limit(BOUNDED, name)
    scopes = [(scope, target) for scope, target in SCOPES if _is_there(policies, scope, name)]
    for scope, target in scopes:
        for value in (str(most + 1), ""):
            with pytest.raises(NotFound, match=r"at most what the bot's owner allows: \$?\d"):
                await policies.turn_knob("1", scope, target, name, value)
        assert store.settings == {}
        for value in (str(most), "0" if name != "retention_days" else "1"):
            await policies.turn_knob("1", scope, target, name, value)
        await policies.turn_knob("1", scope, target, name, None)
    assert policies.of(HOME, (GUEST,)) == BOUNDED


def _is_there(policies: Policies, scope: Scope, name: str) -> bool:
    return name in {one.name for one in policies.knobs(HOME, scope, GUEST)}


@pytest.mark.parametrize("name", CEILINGS)
async def test_s17_what_was_set_before_the_owner_limited_it_is_limited(name: str) -> None:
    """Stored values above the file's do not hold, in words as in force, and private places have
    the same limits."""
    stored = [
        Setting("1", "guild", "1", name, "null"),
        Setting("1", "channel", "11", "replies", "true"),
        Setting("", "channel", "77", name, "3000"),
    ]
    policies = make(*stored, default=BOUNDED)
    await policies.load()
    for place in (HOME, Place("1", "11"), Place("", "77"), Place("", "78")):
        assert limit(policies.of(place), name) == limit(BOUNDED, name)
    assert "no limit" not in knob(policies, "guild", "1", name).value


async def test_s17_a_role_may_have_more_than_its_server_and_not_than_the_file() -> None:
    """Between the server's own limit and the owner's there is room for those who get more."""
    policies = make(default=BOUNDED)
    await policies.turn_knob("1", "guild", "1", "person_tokens", "10")
    await policies.turn_knob("1", "role", MEMBER, "person_tokens", "100")
    assert policies.of(HOME, (GUEST,)).limits.person_tokens == 10
    assert policies.of(HOME, (MEMBER,)).limits.person_tokens == 100
    higher = make(Setting("1", "role", MEMBER, "person_tokens", "101"), default=BOUNDED)
    await higher.load()
    assert higher.of(HOME, (MEMBER,)).limits.person_tokens == 100


@pytest.mark.parametrize("name", CEILINGS)
async def test_what_the_owner_allows_is_described(name: str) -> None:
    """Where there is a ceiling, the knob tells it, in few enough words, and does not say that there
    could be none; nor does the hint to a value that is none."""
    largest = Limits(
        person_tokens=10**12,
        person_dollars=Decimal("999999.99"),
        guild_tokens=10**12,
        guild_dollars=Decimal("999999.99"),
    )
    policies = make(default=structs.replace(DEFAULT, retention_days=3650, limits=largest))
    shown, free = (knob(it, "guild", "1", name) for it in (policies, make()))
    assert f"at most what the bot's owner allows: {shown.value}." in shown.description
    assert "mpty" not in shown.description
    assert len(shown.description) <= 100
    assert "mpty" in free.description
    assert "allows" not in free.description
    for known, expected in ((policies, "owner allows"), (make(), "or nothing")):
        with pytest.raises(NotFound) as caught:
            await known.turn_knob("1", "guild", "1", name, "plenty")
        assert expected in caught.value.remedy


# Wild layers.

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "answers": st.sampled_from(["asked", "everything", "nothing"]),
    "replies": st.booleans(),
    "persona": st.sampled_from(["acore", "tutor"]),
    "users": st.sampled_from([(), (GUEST,), (GUEST, MEMBER)]),
    "retention_days": st.none() | st.integers(1, 3650),
    "local_only": st.booleans(),
    "person_tokens": st.none() | st.integers(0, 100),
    "person_dollars": st.none() | st.decimals(0, 10, places=2),
    "guild_tokens": st.none() | st.integers(0, 100),
    "guild_dollars": st.none() | st.decimals(0, 10, places=2),
    "when_spent": st.sampled_from(["embedded", "refuse"]),
}
OF_ROLES = ("person_tokens", "person_dollars", "local_only")


def layer(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Set some of these knobs."""
    return st.fixed_dictionaries({}, optional={name: VALUES[name] for name in names})


IN_GUILD = layer(*VALUES)
IN_CHANNEL = layer(*(name for name in VALUES if not name.startswith("guild_")))
WITH_ROLE = layer(*OF_ROLES)


def slowly(
    default: Policy, wide: Sequence[dict[str, Any]], roles: Sequence[dict[str, Any]]
) -> Policy:
    """Say knob by knob what should hold."""

    def at_most(value: Any, ceiling: Any) -> Any:  # noqa: ANN401
        return min((it for it in (value, ceiling) if it is not None), default=None)

    def last(name: str, fallback: object) -> Any:  # noqa: ANN401
        return next((one[name] for one in reversed(wide) if name in one), fallback)

    def generous(name: str, fallback: object) -> Any:  # noqa: ANN401
        given = [one[name] for one in roles if name in one]
        if None in given:
            return None
        return max(given) if given else last(name, fallback)

    answers = last("answers", "asked")
    limits = default.limits
    return structs.replace(
        default,
        persona=last("persona", default.persona),
        users=last("users", default.users),
        retention_days=at_most(last("retention_days", None), default.retention_days),
        is_local_only=default.is_local_only
        or any(one.get("local_only") for one in [*wide, *roles]),
        rules=structs.replace(
            default.rules,
            nothing=answers == "nothing",
            everything=answers == "everything",
            replies=last("replies", default.rules.replies),
        ),
        limits=Limits(
            person_tokens=at_most(generous("person_tokens", None), limits.person_tokens),
            person_dollars=at_most(generous("person_dollars", None), limits.person_dollars),
            guild_tokens=at_most(last("guild_tokens", None), limits.guild_tokens),
            guild_dollars=at_most(last("guild_dollars", None), limits.guild_dollars),
            when_spent=last("when_spent", limits.when_spent),
        ),
    )


@given(
    default=st.builds(
        Policy,
        persona=st.just("acore"),
        model=st.just("embedded/smollm2"),
        is_local_only=st.booleans(),
        retention_days=st.none() | st.integers(1, 3650),
        limits=st.builds(
            Limits,
            person_tokens=st.none() | st.integers(0, 100),
            person_dollars=st.none() | st.decimals(0, 10, places=2),
            guild_tokens=st.none() | st.integers(0, 100),
            guild_dollars=st.none() | st.decimals(0, 10, places=2),
        ),
    ),
    guild=IN_GUILD,
    channels=st.dictionaries(st.sampled_from(["10", "11"]), IN_CHANNEL),
    roles=st.dictionaries(st.sampled_from([GUEST, MEMBER, "102"]), WITH_ROLE),
    people=st.lists(
        st.lists(st.sampled_from([GUEST, MEMBER, "102", "103"]), unique=True), min_size=1
    ),
)
@settings(max_examples=150)
async def test_layers_are_laid_as_a_plain_fold_does(
    default: Policy,
    guild: dict[str, Any],
    channels: dict[str, dict[str, Any]],
    roles: dict[str, dict[str, Any]],
    people: list[list[str]],
) -> None:
    """Whatever is set wherever, each person in each channel has the policy of a slow, plain fold,
    the second time as the first."""
    stored: list[Setting] = []
    layers: list[tuple[Scope, Mapping[str, dict[str, Any]]]] = [
        ("guild", {"1": guild}),
        ("channel", channels),
        ("role", roles),
    ]
    for scope, targets in layers:
        for target, values in targets.items():
            encoded = {name: msgspec.json.encode(value).decode() for name, value in values.items()}
            stored += [Setting("1", scope, target, name, value) for name, value in encoded.items()]
    policies = make(*stored, default=default)
    await policies.load()
    for person in [*people, *people]:
        for channel in ("10", "11", "12"):
            wide = [guild, channels.get(channel, {})]
            expected = slowly(default, wide, [roles.get(role, {}) for role in person])
            assert policies.of(Place("1", channel), person) == expected


async def test_what_is_remembered_is_bounded() -> None:
    """However many channels and roles meet, only so many policies are kept ready."""
    stored = [Setting("1", "channel", str(n), "replies", "false") for n in range(MAX_COMPILED + 10)]
    policies = make(*stored)
    await policies.load()
    for number in range(MAX_COMPILED + 10):
        assert not policies.of(Place("1", str(number))).rules.replies
    assert 0 < len(policies._compiled) <= MAX_COMPILED


async def test_people_of_like_roles_share_a_policy() -> None:
    """Roles and channels for which nothing is set make no difference, so nothing is made anew."""
    policies = make()
    await policies.turn_knob("1", "role", GUEST, "person_tokens", "5")
    first = policies.of(HOME, ("7", GUEST))
    assert policies.of(Place("1", "11"), (GUEST, "8", "9")) is first


# What a knob can be.


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("person_tokens", "50,000", 50_000),
        ("person_tokens", " 50 000 ", 50_000),
        ("person_tokens", "0", 0),
        ("person_tokens", "", None),
        ("guild_dollars", "$2.5", Decimal("2.5")),
        ("guild_dollars", "", None),
    ],
)
async def test_amounts_are_read_as_people_write_them(name: str, value: str, read: object) -> None:
    """Thousands may be parted, dollars marked, and nothing is no limit."""
    policies = make()
    await policies.turn_knob("1", "guild", "1", name, value)
    assert getattr(policies.of(HOME).limits, name) == read


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("answers", "always", "asked, everything, nothing"),
        ("replies", "true", "yes, no"),
        ("memory", "", "shared, person"),
        ("persona", "../tutor", "acore, tutor"),
        ("persona", "", "acore, tutor"),
        ("model", "", "provider/model"),
        ("model", "gpt", "provider/model"),
        ("model", "ollama/" + "x" * 200, "provider/model"),
        ("users", "everybody", "roles"),
        ("users", " ".join(map(str, range(26))), "25 roles"),
        ("names", "!", "names"),
        ("names", "x" * 33, "names"),
        ("names", ",".join("abcdefghijk"), "names"),
        ("retention_days", "0", "from 1 to 3650"),
        ("retention_days", "3651", "from 1 to 3650"),
        ("retention_days", "-1", "from 1 to 3650"),
        ("person_tokens", "20.000", "whole number"),
        ("person_tokens", "5,00", "whole number"),
        ("person_tokens", "1" * 14, "whole number"),
        ("person_tokens", "٣", "whole number"),
        ("person_dollars", "1,50", "1.50"),
        ("person_dollars", "-1", "1.50"),
        ("person_dollars", "NaN", "1.50"),
    ],
)
async def test_what_a_knob_cannot_be_is_said_kindly(name: str, value: str, hint: str) -> None:
    """A wrong value changes nothing and is answered by what it could be."""
    store = PlainPreferences()
    policies = over(store)
    with pytest.raises(NotFound) as caught:
        await policies.turn_knob("1", "guild", "1", name, value)
    assert hint in caught.value.remedy
    assert len(caught.value.public) < 300
    assert store.settings == {}
    assert policies.of(HOME) is DEFAULT


@pytest.mark.parametrize(
    ("scope", "name"),
    [("guild", "tone"), ("channel", "guild_tokens"), ("role", "persona"), ("role", "users")],
)
async def test_an_unknown_knob_is_told_the_known_ones(scope: Scope, name: str) -> None:
    """A knob that there is not, or not for this, is answered by those that there are."""
    with pytest.raises(NotFound) as caught:
        await make().turn_knob("1", scope, "5", name, None)
    assert "local_only" in caught.value.remedy
    assert name not in caught.value.remedy.split(", ")


@pytest.mark.parametrize(
    ("guild", "scope", "target"), [("", "guild", ""), ("", "role", "5"), ("1", "role", "1")]
)
async def test_what_would_hold_for_nobody_or_strangers_is_refused(
    guild: str, scope: Scope, target: str
) -> None:
    """Private chats have no server to set anything for, and everyone's role is the server."""
    with pytest.raises(NotFound):
        await make().turn_knob(guild, scope, target, "local_only", "yes")


async def test_a_guilds_settings_are_its_own() -> None:
    """Whatever target is named, a setting of a guild is that guild's."""
    policies = make()
    await policies.turn_knob("1", "guild", "2", "replies", "no")
    assert not policies.of(HOME).rules.replies
    assert policies.of(Place("2", "10")).rules.replies


async def test_nothing_of_the_owners_machine_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Why a model cannot be used goes to the log; who asked learns how to name one."""
    with pytest.raises(NotFound) as caught, caplog.at_level(logging.WARNING):
        await make().turn_knob("1", "guild", "1", "model", "cloud/x")
    assert not isinstance(caught.value, ConfigurationError)
    assert "/home" not in str(caught.value)
    assert "/home/ada" in caplog.text


SCOPES: list[tuple[Scope, str]] = [("guild", "1"), ("channel", TALK), ("role", GUEST)]


@pytest.mark.parametrize(("scope", "target"), SCOPES)
async def test_a_knob_can_be_set_to_what_it_shows(scope: Scope, target: str) -> None:
    """Setting each knob to the value that holds changes nothing, but that it is set here."""
    limits = Limits(person_tokens=5, person_dollars=Decimal("0.5"), guild_tokens=0)
    rules = Rules(everything=True, names=("Acore", "old friend"))
    default = structs.replace(
        DEFAULT,
        model="ollama/x",
        rules=rules,
        users=(GUEST, MEMBER),
        choosers=(EVERYONE,),
        limits=limits,
        is_local_only=True,
    )
    policies = make(default=default)
    for before in policies.knobs(HOME, scope, target):
        assert not before.is_own
        await policies.turn_knob("1", scope, target, before.name, before.set_to)
        assert knob(policies, scope, target, before.name) == structs.replace(before, is_own=True)
    assert policies.of(HOME, (GUEST,)) == default


@pytest.mark.parametrize(("scope", "target"), SCOPES)
def test_knobs_fit_a_panel(scope: Scope, target: str) -> None:
    """There are few enough for one list, each with words that fit Discord's fields."""
    knobs = make().knobs(HOME, scope, target)
    assert 0 < len(knobs) <= 25
    for one in knobs:
        assert 0 < len(one.label) <= 45
        assert 0 < len(one.description) <= 100
        assert one.value
        assert len(one.choices) <= 25
        assert not one.choices or one.set_to in dict(one.choices)


async def test_values_are_shown_in_words() -> None:
    """What holds is told as a person would, not as it is stored."""
    policies = make()

    async def shown(name: str, value: str) -> str:
        await policies.turn_knob("1", "guild", "1", name, value)
        return knob(policies, "guild", "1", name).value

    assert await shown("persona", "tutor") == "Tutor"
    assert await shown("answers", "asked") == "when asked"
    assert await shown("retention_days", "30") == "30 days"
    assert await shown("retention_days", "") == "for good"
    assert await shown("person_dollars", "1.50") == "$1.50"
    assert await shown("guild_tokens", "") == "no limit"
    assert await shown("users", "") == "everyone"
    assert await shown("users", f"{GUEST} {MEMBER}") == "2 roles"
    assert await shown("choosers", "") == "managers only"
    assert await shown("names", "Ada,Bo") == "Ada, Bo"


# Who may.


def test_who_may_use_the_bot() -> None:
    """Everyone, or those with one of the roles, and always those who manage the server."""
    some = structs.replace(DEFAULT, users=(GUEST, MEMBER))
    assert may_use(DEFAULT, (), may_manage=False)
    assert may_use(some, ("7", MEMBER), may_manage=False)
    assert not may_use(some, ("7",), may_manage=False)
    assert may_use(some, (), may_manage=True)


def test_who_may_choose() -> None:
    """Nobody but those with one of the roles, and always those who manage the server."""
    some = structs.replace(DEFAULT, choosers=(MEMBER,))
    assert not may_choose(DEFAULT, (GUEST,), may_manage=False)
    assert may_choose(DEFAULT, (), may_manage=True)
    assert may_choose(some, (MEMBER,), may_manage=False)
    assert not may_choose(some, (GUEST,), may_manage=False)


@pytest.mark.parametrize(("name", "may"), [("users", may_use), ("choosers", may_choose)])
async def test_the_role_of_everyone_is_everyone(
    name: str, may: Callable[[Policy, Sequence[str], bool], bool]
) -> None:
    """Picking everyone's role, which has the guild's id and is in no message, means all people."""
    policies = make()
    await policies.turn_knob("1", "guild", "1", name, f"1 {GUEST}")
    assert may(policies.of(HOME), (), False)
    shown = knob(policies, "guild", "1", name)
    assert (shown.value, shown.set_to) == (EVERYONE, f"1 {GUEST}")
