"""The ML path on the flights, from the data set's files to a model that serves as champion: ``make demo-train``.

scope        which flights, and which training configuration
environment  buckets, stream, queue, keys and databases of the demonstration, in an emulated account
ingest       files and a day of events into the lake
features     feature views, training set, online store, skew check
train        both models beside the baseline
release      package, signature, registry, approvals, gates
display      progress and tables
path         the steps in their order
"""
