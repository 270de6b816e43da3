"""How things look as Discord's JSON."""

from collections.abc import Callable
from typing import Any, TypeAlias

from tests.fakes.discord.things import (
    DIRECT_CHANNEL,
    PERMISSIONS,
    Attachment,
    Channel,
    Guild,
    Member,
    Message,
    Role,
    User,
)

JSON: TypeAlias = dict[str, Any]
IsReadable: TypeAlias = Callable[[Message], bool]

_JOINED_AT = "2020-01-01T00:00:00.000000+00:00"


def user_json(user: User) -> JSON:
    """Return a user."""
    return {
        "id": str(user.id),
        "username": user.name,
        "global_name": None if user.is_bot else user.name,
        "discriminator": "0001" if user.is_bot else "0",
        "avatar": None,
        "bot": user.is_bot,
        "public_flags": 0,
    }


def member_json(member: Member) -> JSON:
    """Return a member without its user."""
    return {
        "roles": [str(role.id) for role in member.roles],
        "nick": member.nick,
        "avatar": None,
        "joined_at": _JOINED_AT,
        "deaf": False,
        "mute": False,
        "flags": 0,
    }


def full_member_json(member: Member) -> JSON:
    """Return a member with its user."""
    return {**member_json(member), "user": user_json(member.user)}


def role_json(role: Role) -> JSON:
    """Return a role."""
    return {
        "id": str(role.id),
        "name": role.name,
        "permissions": str(role.permissions),
        "position": 0,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": True,
        "flags": 0,
    }


def channel_json(channel: Channel) -> JSON:
    """Return a channel, thread or private chat."""
    last = channel.last_message_id
    shared = {
        "id": str(channel.id),
        "type": channel.kind,
        "last_message_id": str(last) if last else None,
        "flags": 0,
    }
    if channel.kind == DIRECT_CHANNEL:
        recipients = [user_json(channel.recipient)] if channel.recipient else []
        return shared | {"recipients": recipients}
    if channel.guild is None:
        return shared | {"recipients": [], "name": channel.name, "icon": None}
    shared |= {"guild_id": str(channel.guild.id), "name": channel.name}
    if channel.is_thread:
        return shared | _thread_json(channel)
    return shared | {
        "position": 0,
        "topic": channel.topic,
        "nsfw": False,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "permission_overwrites": _overwrites_json(channel),
    }


def _overwrites_json(channel: Channel) -> list[JSON]:
    denied = sum(PERMISSIONS[name] for name in channel.denied)
    bot = str(channel.world.bot.id)
    return [{"id": bot, "type": 1, "allow": "0", "deny": str(denied)}] if denied else []


def _thread_json(thread: Channel) -> JSON:
    assert thread.parent is not None
    assert thread.owner is not None
    return {
        "parent_id": str(thread.parent.id),
        "owner_id": str(thread.owner.id),
        "message_count": len(thread.messages),
        "total_message_sent": len(thread.messages),
        "member_count": 1,
        "rate_limit_per_user": 0,
        "thread_metadata": {
            "archived": thread.is_archived,
            "auto_archive_duration": 1440,
            "archive_timestamp": _JOINED_AT,
            "locked": False,
        },
    }


def guild_json(guild: Guild, *, with_members: bool = False) -> JSON:
    """Return a guild as GUILD_CREATE has it: with all its members, or the bot alone."""
    members = guild.members.values() if with_members else [guild.members[guild.world.bot.id]]
    channels = [one for one in guild.channels if not one.is_deleted and one.may("view_channel")]
    return {
        "id": str(guild.id),
        "name": guild.name,
        "owner_id": str(guild.owner.id),
        "unavailable": False,
        "joined_at": _JOINED_AT,
        "large": False,
        "member_count": len(guild.members),
        "members": [full_member_json(member) for member in members],
        "roles": [role_json(role) for role in guild.roles],
        "channels": [channel_json(one) for one in channels if not one.is_thread],
        "threads": [channel_json(one) for one in channels if one.is_thread and not one.is_archived],
        "emojis": [],
        "stickers": [],
        "features": [],
        "presences": [],
        "voice_states": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "icon": None,
        "splash": None,
        "banner": None,
        "description": None,
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "public_updates_channel_id": None,
        "preferred_locale": "en-US",
        "verification_level": 0,
        "default_message_notifications": 1,
        "explicit_content_filter": 0,
        "mfa_level": 0,
        "nsfw_level": 0,
        "premium_tier": 0,
    }


def attachment_json(attachment: Attachment) -> JSON:
    """Return an attachment."""
    return {
        "id": str(attachment.id),
        "filename": attachment.file.name,
        "content_type": attachment.file.media_type,
        "size": len(attachment.file.content),
        "url": attachment.url,
        "proxy_url": attachment.url,
    }


def message_json(message: Message, is_readable: IsReadable) -> JSON:
    """Return a message, with the one that it replies to or forwards. What is not readable has no
    content, embeds and attachments."""
    return _plain_message_json(message, is_readable) | _reference_json(message, is_readable)


def _plain_message_json(message: Message, is_readable: IsReadable) -> JSON:
    payload = {
        "id": str(message.id),
        "channel_id": str(message.channel.id),
        "type": message.kind,
        "author": _author_json(message),
        "timestamp": message.created_at.isoformat(),
        "edited_timestamp": message.edited_at.isoformat() if message.edited_at else None,
        "tts": False,
        "pinned": False,
        "flags": message.flags,
        "mentions": [user_json(user) for user in message.mentions],
        "mention_roles": [str(role) for role in message.role_mentions],
        "mention_everyone": message.mentions_everyone,
        **_contents_json(message, is_readable=is_readable(message)),
    }
    if message.nonce is not None:
        payload["nonce"] = message.nonce
    if message.is_from_webhook:
        payload["webhook_id"] = str(message.author.id)
        if message.author.application_id is not None:
            payload["application_id"] = str(message.author.application_id)
    if message.interaction_id is not None:
        payload["interaction_metadata"] = {
            "id": str(message.interaction_id),
            "type": 2,
            "user": user_json(message.author),
            "authorizing_integration_owners": {},
        }
    return payload


def _contents_json(message: Message, *, is_readable: bool) -> JSON:
    return {
        "content": message.text if is_readable else "",
        "embeds": list(message.embeds) if is_readable else [],
        "attachments": [attachment_json(one) for one in message.attachments if is_readable],
        "components": [],
    }


def _author_json(message: Message) -> JSON:
    if message.is_from_webhook:
        return user_json(message.author) | {"bot": True, "discriminator": "0000"}
    return user_json(message.author)


def _reference_json(message: Message, is_readable: IsReadable) -> JSON:
    if message.reply_to is not None:
        # One level only: what that message replies to is not told.
        original = None
        if not message.reply_to.is_deleted:
            original = _plain_message_json(message.reply_to, is_readable)
        return {
            "message_reference": _pointer_json(message.reply_to, kind=0),
            "referenced_message": original,
        }
    if message.forward_of is not None:
        snapshot = _snapshot_json(message.forward_of, is_readable=is_readable(message))
        return {
            "message_reference": _pointer_json(message.forward_of, kind=1),
            "message_snapshots": [{"message": snapshot}],
        }
    return {}


def _pointer_json(message: Message, *, kind: int) -> JSON:
    guild = message.channel.guild
    pointer = {
        "type": kind,
        "message_id": str(message.id),
        "channel_id": str(message.channel.id),
    }
    return pointer | ({"guild_id": str(guild.id)} if guild else {})


def _snapshot_json(message: Message, *, is_readable: bool) -> JSON:
    return {
        "type": message.kind,
        "timestamp": message.created_at.isoformat(),
        "edited_timestamp": None,
        "flags": message.flags,
        "mentions": [],
        "mention_roles": [],
        **_contents_json(message, is_readable=is_readable),
    }


def gateway_message_json(message: Message, is_readable: IsReadable) -> JSON:
    """Return a message as the gateway's events have it: with its guild and its author's
    membership."""
    payload = message_json(message, is_readable) | {"channel_type": message.channel.kind}
    guild = message.channel.guild
    if guild is None:
        return payload
    payload["guild_id"] = str(guild.id)
    member = guild.members.get(message.author.id)
    if member is not None and not message.is_from_webhook:
        payload["member"] = member_json(member)
    return payload


def deletion_json(message: Message) -> JSON:
    """Return what MESSAGE_DELETE says."""
    guild = message.channel.guild
    deleted = {"id": str(message.id), "channel_id": str(message.channel.id)}
    return deleted | ({"guild_id": str(guild.id)} if guild else {})
