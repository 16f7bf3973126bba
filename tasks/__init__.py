"""One thin module per pixi task, same name: options in, one call, a result, an exit code."""
