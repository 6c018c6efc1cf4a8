"""From files and streams to the lake's tables, exactly once, with every refused record kept and counted.

``contract`` and ``quality`` say what a record must be; ``lake`` holds the Iceberg tables and what has been taken into
them; ``batch`` takes files; ``consumer`` takes streams through the ports of ``ports`` (``kinesis``, ``kafka``);
``quarantine`` and ``dead_letters`` keep what was refused.
"""
