"""The way to upstream that pixi users have set: mirrors, proxies, certificates, credentials."""
