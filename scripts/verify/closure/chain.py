"""Why a package is in a set: the way up to what the manifest asks for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from scripts.verify.closure.look import Look


@dataclass(frozen=True, slots=True)
class _Reason:
    """Who needs something, by position, and by which requirement; None: `top` needs it."""

    who: int | None
    text: str
    top: str = ""


class Chains:
    """The shortest ways up, found once for a whole set."""

    def __init__(self, look: Look) -> None:
        """Walk down: from what the manifest and source packages ask for, then what nobody does."""
        self._look = look
        self._reasons: dict[int, _Reason | None] = {}
        for position, want in look.wanted_from_above:
            top = look.closing.root if want.source is None else want.source.name
            self._reasons.setdefault(position, _Reason(None, want.text, top))
        self._walk(deque(self._reasons))
        needed = {met for position in look.packages for met, _ in look.needs_of(position)}
        tops = [each for each in look.packages if each not in {*needed, *self._reasons}]
        self._reasons.update(dict.fromkeys(tops))
        self._walk(deque(tops))
        for position in look.packages:  # what is left need each other in a circle
            if position not in self._reasons:
                self._reasons[position] = None
                self._walk(deque((position,)))

    def lines(self, position: int) -> tuple[str, ...]:
        """Say who needs a package, who needs that, and so on."""
        lines: list[str] = []
        closing = self._look.closing
        reason = self._reasons[position]
        while reason is not None and reason.who is not None:
            lines.append(f"{self._look.packages[reason.who].file_name.distribution}: {reason.text}")
            reason = self._reasons[reason.who]
        if reason is not None:
            lines.append(f"{reason.top}: {reason.text}")
        elif closing.is_of_builds:
            lines.append(closing.root)
        elif closing.built:
            lines.append("what is built from source, perhaps")
        elif closing.hindrance is None:
            lines.append(f"nothing that {closing.root} requires")
        return tuple(lines)

    def _walk(self, queue: deque[int]) -> None:
        while queue:
            position = queue.popleft()
            for met, text in self._look.needs_of(position):
                if met not in self._reasons:
                    self._reasons[met] = _Reason(position, text)
                    queue.append(met)
