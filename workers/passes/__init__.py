"""The passes, by name: one file each."""
