"""What a keeper of a mirror does over time: remove what is named no longer, arrange it anew."""
