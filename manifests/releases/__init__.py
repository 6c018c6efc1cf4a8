"""The services and jobs of the platform as manifests: one file for each, sized from the blueprint."""
