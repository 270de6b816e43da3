"""The systemd unit of the bot: what it says, and where it stands.

The unit is named `discordbot`, as the predecessor's was. One of the system runs as a user of its
own and is fenced in as far as the bot allows; one of a user runs with that user's rights.
"""

from dataclasses import dataclass
from pathlib import Path

NAME = "discordbot"
USER = "discordbot"
STATE = "acore"
SYSTEM_FOLDER = Path("/etc/systemd/system")
SYSTEM_DATA = Path("/var/lib") / STATE
SYSTEM_SETTINGS = Path("/etc/acore/acore.toml")
SYSTEM_ENVIRONMENT = Path("/etc/acore/environment")
BACK_OFF_VERSION = 254  # the first systemd that knows RestartSteps=

_HEAD = """\
[Unit]
Description=acore-bot, an AI chat bot for Discord
Wants=network-online.target
After=network-online.target
# Discord allows a bot a thousand new sessions a day, and locks out who takes more. The bot spaces
# its own; beyond a hundred starts something is broken that no further start will mend.
StartLimitIntervalSec=1d
StartLimitBurst=100

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=15
{back_off}\
# 2: the settings are wrong; 3: Discord refuses this bot. Neither is mended by another start.
RestartPreventExitStatus=2 3
TimeoutStartSec=90
WatchdogSec=60
# At a stop, open answers get some seconds to end; the model's process ends after them.
KillMode=mixed
TimeoutStopSec=15
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""
_BACK_OFF = """\
# 15 s, then longer and longer up to five minutes.
RestartSteps=6
RestartMaxDelaySec=300
"""
_SYSTEM = """\
User={user}
Group={user}
StateDirectory={state}
StateDirectoryMode=0700
WorkingDirectory={data}
Environment=HOME={data}
Environment=ACORE_DATA__DIRECTORY={data}
# DISCORD_TOKEN and keys may stand here instead of in the settings; only root and the bot read it.
EnvironmentFile=-{environment}
CapabilityBoundingSet=
DevicePolicy=closed
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
# AF_NETLINK is how names are looked up by the best route.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
SystemCallFilter=@system-service
# The reader of files limits itself (setrlimit), so @resources stays.
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
_OF_USER = """\
# DISCORD_TOKEN and keys may stand here instead of in the settings.
EnvironmentFile=-%h/.config/acore/environment

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a unit is to do: run `program` with the settings in `settings`, for a user of its own or
    for whoever installs it (`is_system` or not). `systemd` is the version that will read it."""

    program: Path
    settings: Path | None
    is_system: bool
    systemd: int = 0

    @property
    def command(self) -> str:
        """How the bot is started."""
        settings = [f"--config={self.settings}"] if self.settings else []
        return " ".join(_quoted(word) for word in (str(self.program), *settings, "run"))


def unit(plan: Plan) -> str:
    """Write the unit."""
    back_off = _BACK_OFF if plan.systemd >= BACK_OFF_VERSION else ""
    head = _HEAD.format(command=plan.command, back_off=back_off)
    if not plan.is_system:
        return head + _OF_USER
    return head + _SYSTEM.format(
        user=USER, state=STATE, data=SYSTEM_DATA, environment=SYSTEM_ENVIRONMENT
    )


def _quoted(word: str) -> str:
    """Write a word of a command as systemd reads it: % and $ mean themselves."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(sign in text for sign in " '\"\\;") else text
