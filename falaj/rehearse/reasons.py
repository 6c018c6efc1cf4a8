"""Why pods are left without a place: the scheduler's and Karpenter's own words, grouped.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from falaj.rehearse.sightings import Pod

_MOST_GROUPS: Final = 8
_LONGEST: Final = 600
_NUMBER: Final = re.compile(r"\d+")
_PREFIX: Final = "Failed to schedule pod, "
_PARTS: Final = re.compile(r"; (?=incompatible|no instance type|all available|did not)|(?<=\)), (?=incompatible)")
_NOT_MADE: Final = "their controller has not made them"


@dataclass(frozen=True)
class Reason:
    """Pods that are left for the same reason.  ``karpenter``: one sentence for each pool that it tried."""

    pods: int
    groups: tuple[str, ...]
    scheduler: str
    karpenter: tuple[str, ...]

    @property
    def words(self) -> str:
        """The one that says more: Karpenter's, where it has spoken."""
        return "; ".join(self.karpenter) or self.scheduler or "neither the scheduler nor Karpenter has said why"


def reasons(waiting: Iterable[Pod], refusals: Mapping[str, str]) -> tuple[Reason, ...]:
    """Groups the pods that wait by what was said of them; ``refusals``: pod -> Karpenter's words.  Most pods first."""
    alike: dict[tuple[str, str], list[Pod]] = {}
    for pod in waiting:
        said = refusals.get(pod.name, "")
        alike.setdefault((_NUMBER.sub("N", pod.refusal), _NUMBER.sub("N", said)), []).append(pod)
    made = [
        Reason(
            pods=len(pods),
            groups=tuple(sorted({pod.group for pod in pods})),
            scheduler=pods[0].refusal[:_LONGEST],
            karpenter=sentences(refusals.get(pods[0].name, "")),
        )
        for pods in alike.values()
    ]
    return tuple(sorted(made, key=lambda reason: (-reason.pods, reason.groups))[:_MOST_GROUPS])


def never_made(wanted: Mapping[str, int], pods: Iterable[Pod]) -> tuple[Reason, ...]:
    """Pods that should be and are not: their controller has not made them.  ``wanted``: group -> pods."""
    there = Counter(pod.group for pod in pods if pod.gone_at is None)
    short = {group: count - there[group] for group, count in sorted(wanted.items()) if count > there[group]}
    return (Reason(sum(short.values()), tuple(short), _NOT_MADE, ()),) if short else ()


def sentences(words: str) -> tuple[str, ...]:
    """Karpenter's message in its parts, each once, in order: it repeats what holds for several pools."""
    parts = _PARTS.split(words.removeprefix(_PREFIX))
    return tuple(dict.fromkeys(part.strip()[:_LONGEST] for part in parts if part.strip()))
