"""Prove that the channel installs: every client, an empty cache, no network."""
