"""Handlers by service; ``falaj.local.aws.handler.handler_for`` finds them by the middle part of the type token."""
