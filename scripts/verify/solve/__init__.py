"""Prove that the requirements lead, from the channel alone, to what the lock names."""
