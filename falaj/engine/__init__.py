"""An embedded deployment engine: Pulumi's protocol, state and semantics for Python programs, in process.

``falaj.engine.stack.Stack`` is its face; ``options``, ``events``, ``errors`` and ``provider`` are what a caller meets
besides.  Inside, from the outer to the inner parts:

=====================  ===============================================================================================
``deployment``         one deployment from beginning to end, in one event loop
``program``            the process of the user's program (``launcher`` runs in it), ``monitor`` the services it calls,
                       ``callbacks`` the functions of it that the engine calls
``registration``       a message of the program as a ``goal``, and the answer to it
``step_generator``     decides what happens to a resource, with ``replacement``, ``removal``, ``refresh``, ``imports``
``executor``           carries ``steps`` and ``lookups`` out in parallel; ``report`` tells, ``snapshot`` saves
``providers``          which provider serves what; ``instances`` and ``calls`` are how it is called
``policies``           what decisions ask of policy packs; ``policy_packs`` and ``policy`` run them
``graph`` ``diffs``    pure: order of deletes, arithmetic on differences, property ``paths``, ``targets``
``checkpoint``         the state file with its ``resource_state``, ``integrity``, ``codec`` and ``secrets``, kept by the
                       ``backend`` under ``locks``; ``project`` and ``stack_settings`` are the user's files
=====================  ===============================================================================================

Nothing in here imports anything of ours outside ``falaj.engine``, and of Pulumi only ``pulumi.runtime.proto``.
"""
