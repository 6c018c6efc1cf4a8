"""The local ``kubernetes`` provider: manifests checked and rendered as files, or applied to a real API server."""
