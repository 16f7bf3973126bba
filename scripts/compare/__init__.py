"""Compare the channel with the lock: every byte, every record, every row."""
