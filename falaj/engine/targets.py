"""URN patterns of --target, --exclude and --replace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


class UrnPatterns:
    """A set of URNs, some with wildcards: ``*`` matches within a part of a URN, ``**`` anything.

    ``add`` extends the set by a literal URN (dependents that join a target).
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns: Sequence[str] = tuple(patterns)
        self._literals = {pattern for pattern in self.patterns if "*" not in pattern}
        self._globs = [_compiled(pattern) for pattern in self.patterns if "*" in pattern]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __contains__(self, urn: str) -> bool:
        return urn in self._literals or any(glob.fullmatch(urn) for glob in self._globs)

    def add(self, urn: str) -> None:
        self._literals.add(urn)

    def literals(self) -> Sequence[str]:
        """The patterns without wildcards: each should name something that exists."""
        return [pattern for pattern in self.patterns if "*" not in pattern]


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^:]*"}.get(part) or re.escape(part) for part in parts), re.DOTALL)
