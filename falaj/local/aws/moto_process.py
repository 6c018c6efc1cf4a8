"""The process that holds the emulated AWS account: moto's server on loopback, with an address that tells which it is.

Started by ``falaj.local.aws.server`` as ``python -m falaj.local.aws.moto_process --port PORT --instance ID``; it runs
until it is terminated.  The account lives in its memory and ends with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from falaj.local.aws.creation_journal import Journal
from falaj.local.aws.request_order import one_at_a_time

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
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="falaj.local.aws.moto_process")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--instance", required=True)
    arguments = parser.parse_args(argv)
    for name in [name for name in os.environ if name.startswith(("MOTO_", "AWS_"))]:
        del os.environ[name]  # the account behaves the same whatever the caller's shell holds: moto itself uses boto3
    os.environ.update(_SETTINGS, MOTO_PORT=str(arguments.port))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing to save: the account ends with its memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal that started it ends the deployment only

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from falaj.local.aws.moto_repairs import complete_deletions

    application = identified(
        Journal(one_at_a_time(DomainDispatcherApplication(create_backend_app))), arguments.instance
    )
    server = make_server(
        "127.0.0.1", arguments.port, application, threaded=True, request_handler=_quiet(MotoRequestHandler)
    )
    _load_managed_policies_once()
    complete_deletions()
    threading.Thread(target=_warm_up, args=(arguments.port,), name="warm-up", daemon=True).start()
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


def _load_managed_policies_once() -> None:
    """moto makes an IAM backend per partition on the first call and parses 1,500 managed policies for each of them, a
    third of a second a time; only one partition is ever used here."""
    from moto.iam.models import IAMBackend

    load = IAMBackend._init_aws_policies
    IAMBackend._init_aws_policies = lambda self: load(self) if self.region_name == "aws" else []


_FIRST_CALLS = (
    ("ec2", "POST", "/", "Action=DescribeVpcs&Version=2016-11-15", ""),
    ("kms", "POST", "/", "{}", "TrentService.ListKeys"),
    ("iam", "POST", "/", "Action=ListRoles&Version=2010-05-08", ""),
    ("s3", "GET", "/", "", ""),
    ("logs", "POST", "/", "{}", "Logs_20140328.DescribeLogGroups"),
    ("eks", "GET", "/clusters", "", ""),
    ("rds", "POST", "/", "Action=DescribeDBInstances&Version=2014-10-31", ""),
    ("dynamodb", "POST", "/", "{}", "DynamoDB_20120810.ListTables"),
)
"""(service, method, path, body, target): harmless reads."""


def _warm_up(port: int) -> None:
    """Asks each of the slow services once, while the program that will use them still starts: the first call of a
    service loads its models, for EC2 about two seconds of them."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for service, method, path, body, target in _FIRST_CALLS:
        scope = f"falaj-local/20200101/me-central-1/{service}/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-amz-json-1.1" if target else "application/x-www-form-urlencoded",
            **({"X-Amz-Target": target} if target else {}),
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", data=body.encode() or None, headers=headers, method=method
        )
        with contextlib.suppress(OSError):  # the service's own first caller will see what is wrong
            opener.open(request, timeout=60).close()


if __name__ == "__main__":
    sys.exit(main())
