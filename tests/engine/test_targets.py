"""URN patterns of --target, --exclude and --replace."""

from __future__ import annotations

from falaj.engine.targets import UrnPatterns

BUCKET = "urn:pulumi:dev::p::app:x:Group$aws:s3/bucket:Bucket::logs"


def test_literal_names_one_urn() -> None:
    patterns = UrnPatterns([BUCKET])
    assert BUCKET in patterns
    assert BUCKET + "2" not in patterns


def test_star_stays_within_a_part() -> None:
    assert BUCKET in UrnPatterns(["urn:pulumi:dev::p::app:x:Group$aws:s3/*:Bucket::*"])
    assert BUCKET not in UrnPatterns(["urn:pulumi:dev::*"])


def test_double_star_crosses_parts() -> None:
    assert BUCKET in UrnPatterns(["**Bucket::logs"])
    assert BUCKET in UrnPatterns(["**Group$**"])


def test_other_characters_are_literal() -> None:
    assert BUCKET not in UrnPatterns(["urn.pulumi:dev::p::app:x:Group.aws:s3/bucket:Bucket::*"])


def test_only_patterns_without_wildcards_have_to_exist() -> None:
    assert list(UrnPatterns([BUCKET, "**"]).literals()) == [BUCKET]


def test_dependent_joins_the_targets() -> None:
    patterns = UrnPatterns(["urn:pulumi:dev::p::a:b:C::one"])
    patterns.add(BUCKET)
    assert BUCKET in patterns


def test_nothing_given_is_no_restriction() -> None:
    assert not UrnPatterns()
