"""Look whether the channel keeps its promise. Repairs nothing, writes nothing into it."""
