"""Runs a Pulumi program in a process of its own, as the official language host does.

    python -u launcher.py --monitor A --engine A --project P --stack S --organization O --root_directory DIR --pwd DIR
                          --dry_run true|false --parallel N ENTRY

Exit codes: 0 the program ended well; 1 it raised RunError, whose text has been reported; 32 another exception, with
its traceback reported; any other code is the program's own.  This file runs with the project's interpreter and imports
nothing but pulumi.
"""

import argparse
import asyncio
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

EXIT_REPORTED = 32


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("monitor", "engine", "project", "stack", "organization", "root_directory", "pwd", "dry_run"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("entry")
    options = parser.parse_args()

    sys.path.insert(0, options.pwd)
    os.chdir(options.pwd)

    import pulumi
    import pulumi.runtime
    from pulumi.runtime import config, settings, stack

    config.set_all_config(config.get_config_env(), config.get_config_secret_keys_env())
    settings.configure(
        settings.Settings(
            project=options.project,
            stack=options.stack,
            monitor=options.monitor,
            engine=options.engine,
            parallel=options.parallel,
            dry_run=options.dry_run == "true",
            organization=options.organization,
            root_directory=options.root_directory,
        )
    )
    sys.argv = [options.entry]
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would repeat what is reported below

    def run() -> None:
        runpy.run_path(options.entry, run_name="__main__")

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Every registration blocks a thread until its resource is done, so there have to be more than resources in flight.
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(options.parallel, 1) * 4))
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
    sys.exit(main())
