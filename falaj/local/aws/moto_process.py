"""The process that holds the emulated AWS account: moto's server on loopback, with an address that tells which it is.

Started by ``falaj.local.aws.server`` as ``python -m falaj.local.aws.moto_process --port PORT --instance ID``; it runs
until it is terminated.  The account lives in its memory and ends with it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from falaj.local.aws.creation_journal import Journal

IDENTITY_PATH = "/_falaj/instance"
"""Answers ``{"instance": ..., "pid": ...}``; no AWS API has this path."""

_SETTINGS = {
    "MOTO_ACCOUNT_ID": "123456789012",
    # Roles attach AWS managed policies (AmazonEKSClusterPolicy...): without them AttachRolePolicy fails.
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    # No instance is started from an image here, and loading them costs start time.
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    # The region's own instance types are what launch templates and node groups are checked against.
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
}

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="falaj.local.aws.moto_process")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instance", required=True)
    arguments = parser.parse_args(argv)
    for name in [name for name in os.environ if name.startswith("MOTO_")]:
        del os.environ[name]  # the account behaves the same whatever the caller's shell holds
    os.environ.update(_SETTINGS, MOTO_PORT=str(arguments.port))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal that started it ends the deployment only

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application = identified(Journal(DomainDispatcherApplication(create_backend_app)), arguments.instance)
    server = make_server(
        "127.0.0.1", arguments.port, application, threaded=True, request_handler=_quiet(MotoRequestHandler)
    )
    threading.Thread(target=_import_ahead, name="import-ahead", daemon=True).start()
    server.serve_forever()
    return 0


def identified(application: Application, instance: str) -> Application:
    """The application with ``IDENTITY_PATH`` in front."""
    body = json.dumps({"instance": instance, "pid": os.getpid()}).encode()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != IDENTITY_PATH:
            return application(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _quiet(handler: type) -> type:
    """Without the line per request that would fill the log; errors still go there."""
    return type("QuietRequestHandler", (handler,), {"log_request": lambda *_, **__: None})


def _import_ahead() -> None:
    """EC2's catalogues take about a second to load; better while the program starts than in its first call."""
    import moto.ec2.urls  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
