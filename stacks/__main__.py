"""The Pulumi program: settings -> blueprint -> layers -> outputs.  Run by an engine, official or embedded."""

import gc


def main() -> None:
    """Declare the platform, without cyclic garbage collection.

    The process lives for seconds and keeps nearly all it allocates; looking for garbage while the classes of the AWS
    SDK load and the resources register took a quarter of its processor time and freed 2 of 166 MB (Python 3.11).
    """
    gc.disable()
    from stacks.sdk_imports import import_on_demand

    import_on_demand()
    from stacks.platform_program import declare_platform  # imported late, so that loading it is covered too

    declare_platform()


main()
