"""Values that cross rooms: what people say, what a model is asked, and what it answers.

All are frozen, compare by content and know nobody. They are msgspec structs rather than
dataclasses because a streamed answer makes hundreds of them: a frozen struct costs about a
quarter of a frozen dataclass to create, and encodes to JSON as it is.
"""

from acore_bot.messages.models import (
    Ability,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    FinishReason,
    Host,
    Image,
    ModelInfo,
    Piece,
    Prices,
    Role,
    StreamLimits,
    Usage,
    Waiting,
)
from acore_bot.messages.snowflakes import (
    SnowflakeSequence,
)
from acore_bot.messages.talk import (
    NOWHERE,
    AnswerRecord,
    Attachment,
    Author,
    Control,
    ConversationSummary,
    FileContent,
    Finding,
    IncomingCommand,
    IncomingMessage,
    Message,
    Place,
    Press,
    Quote,
    Receipt,
)
from acore_bot.messages.texts import (
    MAX_FILE_NAME_CHARACTERS,
    UNSEEN_LETTERS,
    printable,
    tidy_file_name,
    well_formed,
)

__all__ = [
    "MAX_FILE_NAME_CHARACTERS",
    "NOWHERE",
    "UNSEEN_LETTERS",
    "Ability",
    "AnswerRecord",
    "Attachment",
    "Author",
    "ChatMessage",
    "ChatRequest",
    "Control",
    "ConversationSummary",
    "Delta",
    "End",
    "FileContent",
    "Finding",
    "FinishReason",
    "Host",
    "Image",
    "IncomingCommand",
    "IncomingMessage",
    "Message",
    "ModelInfo",
    "Piece",
    "Place",
    "Press",
    "Prices",
    "Quote",
    "Receipt",
    "Role",
    "SnowflakeSequence",
    "StreamLimits",
    "Usage",
    "Waiting",
    "printable",
    "tidy_file_name",
    "well_formed",
]
