"""The names of the tasks with what pixi.toml says of each: for `./run` and for `pixi mirror`.

For the launchers alone, and so in a hurry: the standard library, and that where it is used.
"""

from __future__ import annotations

import os

# The features of pixi.toml that hold tasks: on workspaces, and on this template itself.
ON_WORKSPACES = "tasks"
ON_THE_TEMPLATE = "test"


def described_tasks(root: str | os.PathLike[str], *features: str) -> dict[str, str]:
    """Read name and description of the tasks of these features, in the order of pixi.toml.

    There is no other place where they stand. Empty where the file cannot be read: edited, or
    TOML 1.1, which tomllib does not know.
    """
    import tomllib

    try:
        with open(os.path.join(root, "pixi.toml"), encoding="utf-8") as file:
            manifest = tomllib.loads(file.read())
        return {
            name: task["description"]
            for feature in features
            for name, task in manifest["feature"][feature]["tasks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def task_rows(tasks: dict[str, str]) -> list[str]:
    """Write a line for each task, the descriptions one below the other."""
    width = max(map(len, tasks), default=0)
    return [f"  {name.ljust(width)}  {description}".rstrip() for name, description in tasks.items()]


def nearest_task(name: str, names: list[str]) -> str | None:
    """Find the task that may have been meant; None where none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, names, n=1)), None)


def module_of(task: str) -> str:
    """Name the module of a task: `tasks.update_mirror`."""
    return f"tasks.{task.replace('-', '_')}"
