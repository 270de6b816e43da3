"""The tree of errors, as it is drawn and as it is."""

import re
from typing import get_args

import pytest

from acore_bot import errors
from acore_bot.errors import AcoreError, Action, ModelError, RateLimited, TooLong

TREE_LINE = re.compile(r"^    ([│├└─ ]*)(\w+)\s{2,}(.+)$")


def subclasses(root: type[AcoreError]) -> list[type[AcoreError]]:
    """List a class and all below it that are ours, in the order in which they are written."""
    below = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [root, *(each for kind in below for each in subclasses(kind))]


MODEL_ERRORS = [kind for kind in subclasses(ModelError) if issubclass(kind, ModelError)][1:]


def drawn() -> dict[str, tuple[str | None, str]]:
    """Read the tree in the docstring: each name's parent, and what is written beside it."""
    tree: dict[str, tuple[str | None, str]] = {"AcoreError": (None, "")}
    parents = {0: "AcoreError"}
    for line in (errors.__doc__ or "").splitlines():
        if match := TREE_LINE.match(line):
            depth = len(match[1]) // 4
            tree[match[2]] = (parents[depth - 1], match[3])
            parents[depth] = match[2]
    return tree


def test_the_tree_is_as_it_is_drawn() -> None:
    """Every class stands in the drawing below its parent, and nothing else does."""
    actual = {
        kind.__name__: kind.__bases__[0].__name__ if kind is not AcoreError else None
        for kind in subclasses(AcoreError)
    }
    assert {name: parent for name, (parent, _) in drawn().items()} == actual


@pytest.mark.parametrize("kind", MODEL_ERRORS)
def test_a_model_error_says_what_helps(kind: type[ModelError]) -> None:
    """Each has an action, the one that is drawn, a stable word, and a sentence."""
    assert kind.action in get_args(Action)
    assert drawn()[kind.__name__][1].split()[-1] == kind.action
    assert re.fullmatch(r"[a-z_]+", kind.kind)
    assert kind.meaning.endswith(".")


def test_the_words_of_the_kinds_differ() -> None:
    """Logs and counters can tell all kinds apart."""
    assert len({kind.kind for kind in MODEL_ERRORS}) == len(MODEL_ERRORS)


@pytest.mark.parametrize("kind", MODEL_ERRORS)
def test_a_sentence_names_who_failed_and_no_detail(kind: type[ModelError]) -> None:
    """A person reads provider, model and remedy, and nothing of what a server said."""
    error = kind(provider="tea", model="assam", detail="key 12345", remedy="Boil water.")
    assert "tea/assam" in error.sentence
    assert str(error) == f"{error.sentence} Boil water."
    assert "12345" not in str(error) + repr(error)
    assert error.detail == "key 12345"


@pytest.mark.parametrize(
    ("provider", "model", "who"),
    [("tea", "assam", "tea/assam"), ("tea", "", "tea"), ("", "", "the model")],
)
def test_who_failed_is_named_as_far_as_known(provider: str, model: str, who: str) -> None:
    """A provider alone is named alone; if nobody is known, it is the model."""
    error = RateLimited(provider=provider, model=model)
    assert error.sentence == f"{who} is asked too often just now."


def test_a_detail_is_bounded() -> None:
    """A server that sends a whole page does not fill the log."""
    assert len(RateLimited(detail="x" * 10_000).detail) == 500


def test_too_long_carries_the_servers_figures() -> None:
    """The two counts are there for the next prompt, and a remedy for the person."""
    error = TooLong(prompt_tokens=9_000, context_tokens=8_192, provider="tea", model="assam")
    assert (error.prompt_tokens, error.context_tokens) == (9_000, 8_192)
    assert "shorter" in error.remedy


def test_an_error_without_a_remedy_is_its_sentence() -> None:
    """No space is left at the end."""
    assert str(AcoreError("It rains.")) == "It rains."


@pytest.mark.parametrize("kind", subclasses(errors.ConfigurationError))
def test_wrong_settings_have_an_exit_code_of_their_own(kind: type[AcoreError]) -> None:
    """A script can tell wrong settings, which end with 2, from everything else, which ends with
    1."""
    assert kind.exit_code == 2
    assert AcoreError.exit_code == ModelError.exit_code == errors.HistoryError.exit_code == 1


SECRET_PLACE = "/home/ada/acore.toml"


@pytest.mark.parametrize(
    "kind", [*subclasses(errors.ConfigurationError), *subclasses(errors.HistoryError)]
)
def test_strangers_hear_nothing_of_the_owners_machine(kind: type[AcoreError]) -> None:
    """Where the owner's files are, and what is wrong with them, stays between owner and log."""
    error = kind(f"The file {SECRET_PLACE} is no TOML.", remedy=f"Correct {SECRET_PLACE}.")
    assert SECRET_PLACE not in error.public
    assert "owner" in error.public


@pytest.mark.parametrize(
    "kind", [kind for kind in subclasses(ModelError) if kind is not ModelError]
)
def test_strangers_hear_what_they_can_do_about_a_model(kind: type[ModelError]) -> None:
    """A model's fault is told with what helps the one who asked, not with the owner's chores."""
    error = kind(provider="tea", model="assam", remedy="Run `ollama serve`.")
    assert error.public.startswith(error.sentence)
    assert ("ollama" in error.public) == (kind.action == "tell")
    assert ("owner" in error.public) == (kind.action == "stop")
