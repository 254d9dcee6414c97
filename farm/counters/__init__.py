"""Counter sources, one file each."""
