"""Axon's `MemorySystem`, with the types of what this package adds to it.

At run time the names are the SDK's own. To a type checker the methods of `MemorySystem` also take
the user who acts and the session, it has `forget` and `import_data`, and the arguments of `Filter`
may be left out (the SDK declares them as if they were required)::

    from axon_audit_otel.memory_system import Filter, MemorySystem

The arguments work once an `AuditLogger` is given to a memory, or `AxonInstrumentor` was called.
"""

from axon import Filter, MemorySystem

__all__ = ["Filter", "MemorySystem"]
