"""Who serves models: one file each, reached by name through `plugins`."""
