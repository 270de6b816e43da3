"""A spinner beside which a person waits, and which a pipe or a file never sees."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from acore_bot.messages import printable
from acore_bot.telemetry.events import Event, ModelLoaded, ModelLoading

if TYPE_CHECKING:
    from rich.status import Status as Spinner


class Status:
    """Shows on standard error what is going on, until it is hidden or its block is left."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spinner: Spinner | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._spinner = Console(stderr=True).status(self._text)
            self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.hide()

    def on_event(self, event: Event) -> None:
        """Tell that a model is being loaded, as long as it is."""
        match event:
            case ModelLoading(model=model):
                self._show(f"loading {printable(model)}…")
            case ModelLoaded():
                self._show(self._text)

    def hide(self) -> None:
        """Leave no trace on the screen."""
        spinner, self._spinner = self._spinner, None
        if spinner is not None:
            spinner.stop()

    def _show(self, text: str) -> None:
        if self._spinner is not None:
            from rich.markup import escape

            self._spinner.update(escape(text))
