"""The public names of spans, attributes, events, metrics and environment variables.

GenAI memory names: OpenTelemetry semantic-conventions-genai, ``docs/gen-ai/gen-ai-spans.md``
section Memory (development; no Python package carries them yet).
``audit.*``: the OpenTelemetry audit-logging draft, ``specification/audit/data-model.md``.
"""

SCOPE_NAME = "axon_audit_otel"
EVENT_NAME = "axon.memory.audit"
CHECKPOINT_EVENT_NAME = "axon.memory.audit.checkpoint"

# --- GenAI memory conventions ------------------------------------------------------
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_MEMORY_RECORD_ID = "gen_ai.memory.record.id"
GEN_AI_MEMORY_RECORD_COUNT = "gen_ai.memory.record.count"
GEN_AI_MEMORY_QUERY_TEXT = "gen_ai.memory.query.text"
GEN_AI_MEMORY_RECORDS = "gen_ai.memory.records"
GEN_AI_MEMORY_STORE_ID = "gen_ai.memory.store.id"
GEN_AI_AGENT_ID = "gen_ai.agent.id"

CREATE_MEMORY = "create_memory"
UPSERT_MEMORY = "upsert_memory"
UPDATE_MEMORY = "update_memory"
SEARCH_MEMORY = "search_memory"
DELETE_MEMORY = "delete_memory"

GEN_AI_CLIENT_OPERATION_DURATION = "gen_ai.client.operation.duration"
GEN_AI_DURATION_BUCKETS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)

# --- OpenTelemetry registry ----------------------------------------------------------
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"
LOG_RECORD_UID = "log.record.uid"
USER_ID = "user.id"
USER_HASH = "user.hash"
SESSION_ID = "session.id"
SERVICE_NAME = "service.name"
SERVICE_INSTANCE_ID = "service.instance.id"

# --- OpenTelemetry audit-logging draft -------------------------------------------------
AUDIT_RECORD_ID = "audit.record.id"
AUDIT_ACTOR_ID = "audit.actor.id"
AUDIT_ACTOR_TYPE = "audit.actor.type"
AUDIT_ACTION = "audit.action"
AUDIT_OUTCOME = "audit.outcome"
AUDIT_TARGET_ID = "audit.target.id"
AUDIT_SEQUENCE_NUMBER = "audit.sequence.number"
AUDIT_SEQUENCE_PREVIOUS_HASH = "audit.sequence.previous_hash"
AUDIT_SEQUENCE_STREAM_ID = "audit.sequence.stream_id"

# --- ours ------------------------------------------------------------------------------
AXON_OPERATION = "axon.operation"
AXON_STATUS = "axon.status"
AXON_ACTION = "axon.action"
AXON_SYSTEM = "axon.system"
AXON_SUBJECT_ID = "axon.subject.id"
AXON_SUBJECT_IDS = "axon.subject.ids"
AXON_ON_BEHALF_OF = "axon.on_behalf_of"
AXON_PURPOSE = "axon.purpose"
AXON_DERIVED_FROM = "axon.derived_from"
AXON_AUDIT_TRAIL = "axon.audit.trail"
AXON_AUDIT_HASH = "axon.audit.hash"
AXON_DURATION_MS = "axon.duration_ms"
#: True on a span whose trace a metric names as an exemplar: tail sampling is to keep it.
AXON_EXEMPLAR = "axon.exemplar"
#: Beginning of a text in place of an id: of a pseudonym, or of an encrypted id.
PSEUDONYM_PREFIX = "hmac-sha256:"
ERASABLE_PREFIX = "erasable:"
#: Likewise in place of the id of an entry: of a hash, or of an encrypted id.
ENTRY_PREFIX = "entry-hmac-sha256:"
ERASABLE_ENTRY_PREFIX = "entry-erasable:"

# --- Prometheus ------------------------------------------------------------------------
METRIC_OPERATIONS = "axon_memory_operations"
METRIC_DURATION = "axon_memory_operation_duration_seconds"
METRIC_IN_PROGRESS = "axon_memory_operations_in_progress"
METRIC_ENTRIES = "axon_memory_entries"
METRIC_FINDINGS = "axon_memory_findings"
METRIC_BUFFER_EVENTS = "axon_audit_buffer_events"
METRIC_BUFFER_CAPACITY = "axon_audit_buffer_capacity"
METRIC_EVICTED = "axon_audit_evicted_events"
METRIC_EXPORTED = "axon_audit_exported_events"
METRIC_FAILURES = "axon_audit_failures"
METRIC_SDK_FAULTS = "axon_audit_sdk_faults"
METRIC_LAST_SEAL = "axon_audit_last_seal_timestamp_seconds"
METRIC_JOURNAL_LAG = "axon_audit_journal_lag_events"
METRIC_JOURNAL_START = "axon_audit_journal_start_timestamp_seconds"
METRIC_PII = "axon_audit_pii_detections"
METRIC_SHIPPED = "axon_audit_shipped_events"
METRIC_SHIPPING_DROPPED = "axon_audit_shipping_dropped_events"
METRIC_SHIPPING_LAG = "axon_audit_shipping_lag_events"
LABEL_TRAIL = "trail"
LABEL_SYSTEM = "system"
LABEL_OPERATION = "operation"
LABEL_STATUS = "status"
LABEL_STAGE = "stage"
LABEL_KIND = "kind"
LABEL_REASON = "reason"

# --- environment -----------------------------------------------------------------------
ENV_PREFIX = "AXON_AUDIT_"
ENV_CAPTURE_MESSAGE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

#: Facts of an event's metadata that are span attributes too, by operation.
SPAN_ATTRIBUTES: dict[str, dict[str, str]] = {
    "STORE": {
        "tier": "axon.tier",
        "importance": "axon.entry.importance",
        "privacy_level": "axon.entry.privacy_level",
        "pii_detected": "axon.pii.detected",
        "pii_types": "axon.pii.types",
    },
    "RECALL": {
        "k": "axon.recall.k",
        "tiers": "axon.tiers",
        "min_importance": "axon.recall.min_importance",
        "has_filter": "axon.filter.present",
    },
    "FORGET": {
        "tier": "axon.tier",
        "has_filter": "axon.filter.present",
        "deleted": "axon.forget.deleted",
        "remaining": "axon.forget.remaining",
        "everything": "axon.forget.everything",
    },
    "COMPACT": {
        "tier": "axon.tier",
        "strategy": "axon.compact.strategy",
        "dry_run": "axon.compact.dry_run",
        "entries_before": "axon.compact.entries_before",
        "entries_after": "axon.compact.entries_after",
        "summaries_created": "axon.compact.summaries_created",
        "groups_compacted": "axon.compact.groups",
    },
    "EXPORT": {
        "tier": "axon.tier",
        "total_entries": "axon.export.entries",
        "include_embeddings": "axon.export.include_embeddings",
        "has_filter": "axon.filter.present",
    },
    "IMPORT": {
        "imported": "axon.import.imported",
        "skipped": "axon.import.skipped",
        "errors": "axon.import.errors",
        "overwrite": "axon.import.overwrite",
    },
    "SYNC": {
        "source_tier": "axon.sync.source_tier",
        "target_tier": "axon.sync.target_tier",
        "conflict_resolution": "axon.sync.conflict_resolution",
        "delete_source": "axon.sync.delete_source",
        "synced": "axon.sync.synced",
        "skipped": "axon.sync.skipped",
        "deleted": "axon.sync.deleted",
        "conflicts": "axon.sync.conflicts",
    },
    "TRANSACTION": {
        "transaction_id": "axon.transaction.id",
        "isolation_level": "axon.transaction.isolation_level",
        "outcome": "axon.transaction.outcome",
    },
    "BULK_STORE": {},
    "REINDEX": {},
}
