"""What was made from what: OpenLineage events of every step, a store for them, and the questions asked of it.

artifacts    what a step reads and makes, and how people write it (``model:flights-delay@3``)
steps        records a step as it runs: START, then COMPLETE or FAIL
recording    the same where lineage is kept, nothing where it is not
events       the OpenLineage form, with facets of our own for features, runs and models
transports   where events go: a file, a collector over HTTP, the store
store        PostgreSQL: events, artifacts, edges, and an index of data subjects
graph        ancestors and descendants; drawing shows them
"""
