"""The machine-learning services and jobs of a Falaj platform: ingestion, features, training, registry, lineage.

The same code runs on the platform in the cloud and on one machine; only ``runtime.settings.Settings`` differ.
"""
