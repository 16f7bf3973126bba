"""The pixi workspace: its manifest and settings, read as pixi does; platforms, edited."""
