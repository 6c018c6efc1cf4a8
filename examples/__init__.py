"""Whole projects that use the runtime as a customer would."""
