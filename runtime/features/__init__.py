"""The feature store: Feast does the work, this package makes it safe to release.

A customer declares Feast objects (``project``); they are refused without owner, purpose, PII flag and lineage
(``declaration``) and become a ``catalogue`` that the fast paths read without importing Feast, which takes seconds.

    curated tables --snapshots--> feature files --training_set--> point-in-time training set
                                        |
                                        +--materialise--> generation N+1 --flip--> online reads (``online``, ``server``)
    events --push--> the live generation, and the one being built

Nothing here is executed from storage: catalogues are JSON, values are Feast's own protobuf encoding of scalars.
"""
