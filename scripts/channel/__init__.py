"""The channel folder on disk: what is there, whose it is, what waits for removal; placing files."""
