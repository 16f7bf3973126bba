"""pixi.lock: read, compared with the manifest, and what of it is mirrored, and where to."""
