"""Runs a Pulumi program in a process of its own, as the official language host does.

    python -u launcher.py < SETTINGS

The process is started before the engine knows all settings: while it imports the SDK, the engine derives its key and
reads the state.  Then one line of JSON comes on the standard input: monitor, engine, project, stack, organization,
root_directory, pwd, dry_run, parallel, entry, and the environment variables that carry the configuration.  They do not
come in the environment of the process, because that is open to other processes of the user.  The pipe stays open as
long as the engine lives.

Exit codes: 0 the program ended well; 1 it raised RunError, whose text has been reported; 32 another exception, with
its traceback reported; any other code is the program's own.  This file runs with the project's interpreter and imports
nothing but pulumi.
"""

import sys

sys.path.pop(0)  # this file's folder: the engine's modules must not stand for anybody else's (secrets, events, ...)

import asyncio
import atexit
import json
import logging
import os
import runpy
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pulumi
import pulumi.runtime
from pulumi.runtime import config, settings, stack

EXIT_REPORTED = 32


def _end_with_engine(pipe: int) -> None:
    """The engine holds the other end: it closes, however the engine ends, and then nobody would answer any more."""
    while os.read(pipe, 4096):
        pass
    os._exit(1)


def _drop_debug_messages() -> None:
    """The SDK sends several for each resource, each of them a round trip to an engine that drops them."""

    def debug(msg: str, resource: object = None, stream_id: object = None, ephemeral: object = None) -> None:
        pass

    pulumi.log.debug = debug


def main() -> int:
    line = sys.stdin.readline()
    if not line:
        return 0  # the engine has found that nothing is to be run
    given = json.loads(line)
    threading.Thread(target=_end_with_engine, args=(os.dup(sys.stdin.fileno()),), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    os.environ.update(given["environment"])
    sys.path.insert(0, given["pwd"])
    os.chdir(given["pwd"])

    config.set_all_config(config.get_config_env(), config.get_config_secret_keys_env())
    settings.configure(
        settings.Settings(
            project=given["project"],
            stack=given["stack"],
            monitor=given["monitor"],
            engine=given["engine"],
            parallel=given["parallel"],
            dry_run=given["dry_run"],
            organization=given["organization"],
            root_directory=given["root_directory"],
        )
    )
    sys.argv = [given["entry"]]
    _drop_debug_messages()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would repeat what is reported below

    def run() -> None:
        runpy.run_path(given["entry"], run_name="__main__")

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Every registration blocks a thread until its resource is done, so there have to be more than resources in flight.
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(given["parallel"], 1) * 4))
    try:
        loop.run_until_complete(stack.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception:
        pulumi.log.error("Program failed with an unhandled exception:\n" + traceback.format_exc())
        return EXIT_REPORTED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    code = main()
    # The engine waits for this process.  Its exit handlers run; taking 100 MB of classes apart would take most of a
    # second more, and serve nobody.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
