"""The channel folder on disk: where an artifact goes, what is there, placing and removing it."""
