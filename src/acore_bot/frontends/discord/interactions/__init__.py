"""What people ask of the bot by slash commands, menus and forms.

router        from an interaction to the core                    (read first)
├── tree          which commands there are
├── heard         an interaction as the core hears it
├── response      the first word to Discord, within three seconds
├── reply         where the answer becomes visible
│   └── address       by which requests
└── sync          tells Discord of the commands when they changed
"""
