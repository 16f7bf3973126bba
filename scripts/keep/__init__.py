"""What the keeper of a mirror does over time: see what changed, remove what is no longer named."""
