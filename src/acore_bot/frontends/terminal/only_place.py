"""What a terminal's reply targets have in common: one place, one reader, and no buttons."""

from collections.abc import Sequence
from typing import Protocol, Self

from acore_bot.messages import Control


class _Posts(Protocol):
    async def post(
        self, text: str, *, final: bool = False, controls: Sequence[Control] = ()
    ) -> int: ...


class OnlyPlace:
    """Answers for a reply target what only makes sense where several people read along."""

    async def whisper(self: _Posts, text: str) -> None:
        """Show it as everything else: nobody else reads along."""
        await self.post(text, final=True)

    def in_place_of(self, message_ids: Sequence[int]) -> Self:  # noqa: ARG002
        """Return itself: what is shown stays, and what follows comes below."""
        return self

    def speaking_as(self, name: str, picture: bytes) -> Self:  # noqa: ARG002
        """Return itself: the screen names the persona already."""
        return self

    async def thread(self, name: str) -> Self:  # noqa: ARG002
        """Return itself: there is one place."""
        return self

    async def remove(self, message_ids: Sequence[int]) -> None:
        """Leave what was shown: it cannot be taken back."""
