"""The way to upstream that pixi users have set, the transports that take it, and their retries."""
