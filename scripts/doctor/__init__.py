"""What a consumer has of a mirror: would a lock install from it, and what is missing."""
