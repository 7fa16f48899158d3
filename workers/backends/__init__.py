"""The backends, by name: one file each."""
