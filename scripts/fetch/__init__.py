"""Bring the artifacts that the lock names into the channel folder. Only adds."""
