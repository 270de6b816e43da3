"""What of a message is kept: its text as UTF-8 can hold it, its time in UTC."""

from datetime import UTC

from msgspec import structs

from acore_bot.messages import Author, Message


def as_kept(message: Message) -> Message:
    """Return a message as it will be read again; the same object if that changes nothing."""
    author, model = message.author, message.model
    texts = (message.text, message.conversation, author.id, author.name, model or "")
    if message.created_at.tzinfo is UTC and all(storable(text) is text for text in texts):
        return message
    return structs.replace(
        message,
        text=storable(message.text),
        conversation=storable(message.conversation),
        author=Author(storable(author.id), storable(author.name)),
        model=None if model is None else storable(model),
        created_at=message.created_at.astimezone(UTC),
    )


def storable(text: str) -> str:
    """Return a text in which lone surrogates, which UTF-8 cannot hold, became U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16 two halves that belong together become the character that they spell.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
