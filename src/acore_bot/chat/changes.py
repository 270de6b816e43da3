"""What happens to messages after they were said: they are edited or deleted, and places go."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from acore_bot.chat.conversation import Conversations
from acore_bot.chat.material import with_new_words
from acore_bot.contracts import Answers, History
from acore_bot.messages import AnswerRecord, Control, Message, Place

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Follows what a front end tells of messages and places. `context_messages` is how far back an
    answer is looked for that has no record; `on_left` is called for a guild that is gone; of those
    who paused (`is_paused`), nothing new is taken in."""

    conversations: Conversations
    history: History
    answers: Answers
    context_messages: int
    is_paused: Callable[[str], bool]
    on_left: Callable[[str], Awaitable[None]]

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Store a message's new words; return where its answer could be given anew."""
        if self.conversations.reword(message_id, text):
            return None  # its turn will store them; its answer is being written
        former = await self.history.chain(message_id, 1)
        if not former or former[-1].role != "user" or self.is_paused(former[-1].author.id):
            return None
        new = with_new_words(former[-1].text, text)
        if new == former[-1].text or not await self.history.edit(message_id, new):
            return None
        if not (records := await self._records_of(await self._answers_to(former[-1]))):
            return None
        newest = records[-1]
        if self.conversations.askers_of(newest.id):
            return None  # it is being written anew
        return (newest.id, *newest.part_ids)[-1], ("regenerate", "details")

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Forget messages and what was answered to them; return the answers' messages."""
        orphans: list[int] = []
        for message_id in message_ids:
            await self.conversations.withdraw_message(message_id)
            orphans += await self._forget(message_id)
        return tuple(id_ for id_ in dict.fromkeys(orphans) if id_ not in message_ids)

    async def _forget(self, message_id: int) -> list[int]:
        records = [*await self.answers.to_question(message_id)]
        if record := await self.answers.find(message_id):
            records.append(record)
        orphans = [id_ for record in records for id_ in (record.id, *record.part_ids)]
        if found := await self.history.chain(message_id, 1):
            answers = await self._answers_to(found[-1])
            records += await self._records_of(answers)
            orphans += [id_ for one in answers for id_ in (one.id, *one.part_ids)]
        for id_ in dict.fromkeys((*orphans, message_id)):
            await self.history.delete(id_)
        for answer_id in {record.id for record in records}:
            await self.answers.delete(answer_id)
        return orphans

    async def _answers_to(self, message: Message) -> list[Message]:
        """Find the answers to a message, and to those that were answered together with it."""
        recent = await self.history.recent(message.conversation, self.context_messages)
        answers, together = [], {message.id}
        for said in recent:
            if said.parent_id not in together:
                continue
            if said.role == "assistant":
                answers.append(said)
                together.add(said.id)  # it may go on in another answer
            elif message.role == "user" and said.author == message.author and not answers:
                together.add(said.id)
        return answers

    async def _records_of(self, answers: Sequence[Message]) -> list[AnswerRecord]:
        found = [await self.answers.find(one.id) for one in answers]
        return [record for record in found if record is not None]

    async def left(self, place: Place) -> None:
        """Forget all that was said in a guild, or in a channel, that is gone."""
        for conversation in await self._conversations_in(place):
            await self.conversations.forget(conversation)
        if not place.channel:
            await self.on_left(place.guild)

    async def _conversations_in(self, place: Place) -> set[str]:
        # What is being answered there is known to nobody else, if it is the first.
        places = {**await self.answers.places(), **self.conversations.under_way()}
        if not place.channel:
            return {name for name, known in places.items() if known.guild == place.guild}
        # A thread is known by its own name alone: its place is the channel that it is in. And what
        # was said before places were kept is known by its name too.
        named = {one.conversation for one in await self.history.conversations()} | {*places}
        found = {name for name, known in places.items() if known == place}
        return found | {name for name in named if _channel_of(name) == place.channel}


def _channel_of(conversation: str) -> str:
    return conversation.partition(":")[2].partition("/")[0]
