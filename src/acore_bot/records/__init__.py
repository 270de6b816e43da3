"""Where is kept what must outlive a restart besides what was said."""
