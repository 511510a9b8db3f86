"""Which methods of the Axon SDK are audited, and which are not, and why."""

from __future__ import annotations

from ...operations.facts import Kind
from . import adapter_methods, methods
from .erasure import FORGET, ROUTE_FORGET

__all__ = ["AUDITED", "NOT_AUDITED"]

#: The audited methods: name, what each is recorded as, and a remark.
AUDITED: list[tuple[str, Kind, str]] = [
    *((f"MemorySystem.{name}", kind, "") for name, kind in methods.METHODS.items()),
    ("MemorySystem.transaction", methods.TRANSACTION, ""),
    ("MemorySystem.forget", FORGET, "supplied"),
    ("MemorySystem.import_data", methods.IMPORT_DATA, "supplied"),
    ("Router.route_forget", ROUTE_FORGET, ""),
    *(
        (f"StorageAdapter.{name}", kind, "outside of an operation")
        for name, kind in adapter_methods.KINDS.items()
    ),
]

#: Public methods that are not audited, and why, by their class.
NOT_AUDITED: dict[str, dict[str, str]] = {
    "MemorySystem": {
        "close": "closes connections; touches no entry",
        "get_provenance_chain": "lineage for debugging; reads through the adapters only",
        "find_derived_entries": "lineage for debugging; reads through the adapters only",
        "export_audit_log": "reads the audit trail, not the memory",
        "get_statistics": "counters",
        "get_trace_events": "the SDK's own debug list",
        "clear_trace_events": "the SDK's own debug list",
        "enable_tracing": "switches that debug list on and off",
    },
    "Router": {
        "route_store": "called by `store`, which is audited",
        "route_recall": "called by `recall`, which is audited",
        "select_tier": "chooses a tier; touches no entry",
        "get_tier_stats": "counters",
        "reset_stats": "counters",
    },
    "StorageAdapter": {
        "save, get, query": "noted inside operations; alone they are below the memory's API",
        "save_sync, get_sync, query_sync": "call the methods above",
        "delete_sync, bulk_save_sync, reindex_sync": "call the audited methods",
        "supports_transactions": "touches no entry",
        "prepare_transaction, commit_transaction, abort_transaction": "no adapter has them yet",
        "(expiry in the backend)": "a TTL that runs out in Redis never reaches the SDK",
    },
}
