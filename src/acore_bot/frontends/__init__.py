"""Where people are: one front end each, reached by name through `plugins`."""
