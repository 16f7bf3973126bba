"""Manifest, settings and lock file of a pixi workspace, and what of it is mirrored."""
