"""Security and residency rules for the platform: pure rules, thin packs, dated exemptions.

A rule never sees Pulumi: it takes the properties of a resource and answers with verdicts.  ``policies.adapter`` turns
rules into Pulumi policies; ``policies/packs/`` lists which rules a pack enforces, and how hard.
"""
