"""SQLite files of ours: opened safely, brought up to date, each owned by a thread."""
