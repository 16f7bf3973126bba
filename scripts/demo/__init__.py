"""Shows the main job on a small upstream of its own, with no network but loopback."""
