"""Describe the artifacts of a channel folder: repodata.json, its zst, the shards."""
