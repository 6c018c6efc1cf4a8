"""The rehearsal: a blueprint's node pools and load on a real control plane, before anyone pays for a machine.

``plan`` (pure) says what will be asked; ``stage`` (effects) sets it up; ``drills`` play it; ``report`` (pure) judges.
"""
