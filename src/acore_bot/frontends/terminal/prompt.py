"""The line that a person edits: its keys, its completion, and the lines typed before."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from acore_bot.messages import printable

PROMPT = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "


class CommandCompleter(Completer):
    """Completes `/name` at the start of a message, and nothing else."""

    def __init__(self, commands: Sequence[tuple[str, str]]) -> None:
        self._commands = commands

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield each command that begins as the text before the cursor does."""
        del complete_event
        typed = document.text_before_cursor
        for name, description in self._commands:
            command = f"/{name}"
            if typed.startswith("/") and command.startswith(typed):
                yield Completion(command, -len(typed), display_meta=description)


def make_session(
    commands: Sequence[tuple[str, str]],
    persona_name: Callable[[], str],
    history: History,
    terminal: tuple[Input, Output],
) -> PromptSession[str]:
    """Return a session whose `prompt_async` returns one message, of several lines if need be.

    It raises `EOFError` at Ctrl-D and `KeyboardInterrupt` at Ctrl-C, each on an empty line.
    """
    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=" " * len(PROMPT),
        placeholder=lambda: _invite(persona_name()),
        completer=CommandCompleter(commands),
        reserve_space_for_menu=min(8, len(commands) + 1),
        history=history,
        key_bindings=_key_bindings(),
        enable_suspend=True,
        input=terminal[0],
        output=terminal[1],
    )


def _invite(name: str) -> FormattedText:
    # A line that was left empty must not go up the screen with words that nobody typed.
    return FormattedText(
        [] if get_app().is_done else [("ansibrightblack", f"Message {printable(name)}")]
    )


def _key_bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c")
    @keys.add("<sigint>")
    def clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys


def open_history(file: Path | None) -> History:
    """Return the lines typed before, kept in a file for its owner's eyes, or in memory only.

    Raises `OSError` if the file cannot be written.
    """
    if file is None:
        return InMemoryHistory()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with file.open("ab"):
        return FileHistory(file)
