"""What the tests stand on: tiny real packages, locks that name them, a server that misbehaves."""
