"""Renew pixi.lock with pixi, and see whether a lock still fits its manifest."""
