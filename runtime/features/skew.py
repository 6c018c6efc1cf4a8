"""Training/serving skew: the same keys through the offline join and through the online path, value by value.

A release is compared on a sample before it goes on.  What the stream brought after the batch was cut is fresher online
by design: such rows are counted apart and not compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from runtime.features.catalogue import Catalogue, ReadPlan
from runtime.features.errors import SkewError
from runtime.features.online import MAX_ROWS, OnlineFeatures
from runtime.features.project import EVENT_TIMESTAMP
from runtime.features.training_set import point_in_time_join

if TYPE_CHECKING:
    import polars as pl

RELATIVE_TOLERANCE: Final = 1e-9
"""Both paths carry the same 64-bit numbers; this leaves room for a last bit, not for another computation."""

DEFAULT_THRESHOLD: Final = 0.001
"""Share of differing values of one feature above which a release fails."""

ReadOnline = Callable[[Sequence[str], Mapping[str, list[Any]]], OnlineFeatures]


@dataclass(frozen=True)
class FeatureSkew:
    """One feature: values compared, how many differ, how many rows were fresher online, the first difference."""

    feature: str
    compared: int
    different: int
    fresher_online: int
    largest_difference: float | None
    """Absolute, where both values are numbers."""
    example: str

    @property
    def share(self) -> float:
        return self.different / self.compared if self.compared else 0.0


@dataclass(frozen=True)
class SkewReport:
    """The comparison of one release."""

    project: str
    service: str
    generation: int
    snapshot_id: str
    as_of: str
    rows: int
    threshold: float
    features: tuple[FeatureSkew, ...]

    @property
    def worst(self) -> FeatureSkew:
        return max(self.features, key=lambda feature: (feature.share, feature.different))

    @property
    def uncompared(self) -> tuple[str, ...]:
        """Features of which no value could be compared: they prove nothing, so they fail a release too."""
        return tuple(feature.feature for feature in self.features if not feature.compared)

    @property
    def passed(self) -> bool:
        return self.worst.share <= self.threshold and not self.uncompared

    def raise_if_failed(self) -> None:
        """Raises SkewError, which names the worst feature."""
        if self.uncompared:
            raise SkewError(
                f"service {self.service}: nothing to compare for {', '.join(self.uncompared)} (every sampled row is "
                "fresher online); compute the features again and materialise, then compare"
            )
        if not self.passed:
            worst = self.worst
            raise SkewError(
                f"service {self.service}, generation {self.generation}: {worst.feature} differs in {worst.different} "
                f"of {worst.compared} values ({worst.share:.2%}, allowed {self.threshold:.2%}), as {worst.example}; "
                "the release stops here"
            )


def compare(
    catalogue: Catalogue,
    service: str,
    examples: pl.DataFrame,
    view_rows: Mapping[str, pl.DataFrame],
    read_online: ReadOnline,
    *,
    as_of: datetime,
    snapshot_id: str,
    sample_rows: int = 500,
    seed: int = 0,
    threshold: float = DEFAULT_THRESHOLD,
) -> SkewReport:
    """Compares both paths on ``sample_rows`` of the examples' keys, as if all were asked at ``as_of``.

    ``view_rows``: the snapshot's rows by view.  ``as_of`` is the instant the live generation was materialised for.
    Raises SkewError when there is nothing to compare.
    """
    plan = catalogue.plan(catalogue.service(service))
    keys = sample_keys(plan, examples, sample_rows, seed)
    if keys.is_empty():
        raise SkewError(f"service {service}: no examples to compare training and serving on")
    offline = _offline(plan, keys, view_rows, as_of)
    columns = [field.name for field in (*plan.join_keys, *plan.request)]
    tallies = {reference: _Tally(reference.partition(":")[2]) for reference in plan.references}
    generation = 0
    for start in range(0, keys.height, MAX_ROWS):
        part = keys.slice(start, MAX_ROWS)
        online = read_online(plan.references, {name: part[name].to_list() for name in columns})
        generation = online.generation
        _count(plan, tallies, offline.slice(start, MAX_ROWS), online, as_of.timestamp())
    return SkewReport(
        project=catalogue.project,
        service=service,
        generation=generation,
        snapshot_id=snapshot_id,
        as_of=as_of.isoformat(),
        rows=keys.height,
        threshold=threshold,
        features=tuple(tally.result() for tally in tallies.values()),
    )


def sample_keys(plan: ReadPlan, examples: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Distinct join keys and request data, drawn with a fixed seed."""
    columns = [field.name for field in (*plan.join_keys, *plan.request)]
    distinct = examples.select(columns).drop_nulls().unique(maintain_order=True)
    chosen = sorted(random.Random(seed).sample(range(distinct.height), min(rows, distinct.height)))  # noqa: S311
    return distinct[chosen]


class _Tally:
    def __init__(self, feature: str) -> None:
        self.feature = feature
        self.compared = self.different = self.fresher = 0
        self.largest: float | None = None
        self.example = ""

    def add(self, key: str, offline: Any, online: Any) -> None:
        self.compared += 1
        if _equal(offline, online):
            return
        self.different += 1
        self.example = self.example or f"{key}: {offline!r} in training, {online!r} in serving"
        if _is_number(offline) and _is_number(online):
            self.largest = max(self.largest or 0.0, abs(float(offline) - float(online)))

    def result(self) -> FeatureSkew:
        return FeatureSkew(self.feature, self.compared, self.different, self.fresher, self.largest, self.example)


def _offline(plan: ReadPlan, keys: pl.DataFrame, rows: Mapping[str, pl.DataFrame], as_of: datetime) -> pl.DataFrame:
    import polars as pl

    moment = pl.lit(as_of).dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC")).alias(EVENT_TIMESTAMP)
    return point_in_time_join(keys.with_columns(moment), plan, rows)


def _count(
    plan: ReadPlan, tallies: Mapping[str, _Tally], offline: pl.DataFrame, online: OnlineFeatures, as_of_seconds: float
) -> None:
    times = dict(zip(online.names, online.event_times, strict=True))
    served = online.to_dict()
    owners = {f"{view.name}:{field.name}": view for view, fields in plan.stored for field in fields}
    inputs = {f"{view.name}:{field.name}": view.inputs for view, fields in plan.on_demand for field in fields}
    view_times = {
        owner.name: times[reference.partition(":")[2]]
        for reference, owner in owners.items()
        if reference.partition(":")[2] in times
    }
    keys = [field.name for field in plan.join_keys]
    labels = ["/".join(str(value) for value in row) for row in offline.select(keys).iter_rows()]
    for reference, tally in tallies.items():
        name = reference.partition(":")[2]
        sources = [owners[reference].name] if reference in owners else [i.partition(":")[0] for i in inputs[reference]]
        for index, (trained, answered) in enumerate(zip(offline[name].to_list(), served[name], strict=True)):
            newest = max((view_times[view][index][0] for view in sources if view in view_times), default=0)
            if newest > as_of_seconds:
                tally.fresher += 1
            else:
                tally.add(labels[index], trained, answered)


def _equal(offline: Any, online: Any) -> bool:
    if offline is None or online is None:
        return offline is None and online is None
    if isinstance(offline, datetime):
        offline = int(offline.timestamp())
    if isinstance(offline, float) or isinstance(online, float):
        if not (_is_number(offline) and _is_number(online)):
            return False
        return math.isclose(offline, online, rel_tol=RELATIVE_TOLERANCE) or (math.isnan(offline) and math.isnan(online))
    return bool(offline == online)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
