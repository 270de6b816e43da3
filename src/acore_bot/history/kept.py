"""What of a message is kept: its text as UTF-8 can hold it, its time in UTC."""

from datetime import UTC

from msgspec import structs

from acore_bot.messages import Author, Message, well_formed


def as_kept(message: Message) -> Message:
    """Return a message as it will be read again; the same object if that changes nothing."""
    author, model = message.author, message.model
    texts = (message.text, message.conversation, author.id, author.name, model or "")
    if message.created_at.tzinfo is UTC and all(well_formed(text) is text for text in texts):
        return message
    return structs.replace(
        message,
        text=well_formed(message.text),
        conversation=well_formed(message.conversation),
        author=Author(well_formed(author.id), well_formed(author.name)),
        model=None if model is None else well_formed(model),
        created_at=message.created_at.astimezone(UTC),
    )
