-- Audit events in ClickHouse, as the collector's own exporter inserts them (overlays/clickhouse.yaml).
--
-- Does:  audit_records takes what the exporter inserts, in the exporter's own columns, and keeps nothing.
--        Of each record the body decides what it is: an event goes to audit_events_stored, a checkpoint to
--        audit_checkpoints_stored, anything else to audit_others_stored. The views have each of them once.
-- Needs: ClickHouse 24.8 or newer. python3 apply.py runs this file; or, in a database that exists,
--        clickhouse-client --database otel --queries-file schema.sql. It can be run again.
-- Loses: nothing: no record is refused, whatever is in it. Nothing is deleted by age before
--        retention.sql says so.

-- What the exporter inserts: its own columns and types (of opentelemetry-collector-contrib 0.157).
CREATE TABLE IF NOT EXISTS audit_records
(
    Timestamp DateTime64(9),
    TraceId String,
    SpanId String,
    TraceFlags UInt8,
    SeverityText LowCardinality(String),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String),
    Body String,
    ResourceSchemaUrl LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String),
    ScopeSchemaUrl LowCardinality(String),
    ScopeName String,
    ScopeVersion LowCardinality(String),
    ScopeAttributes Map(LowCardinality(String), String),
    LogAttributes Map(LowCardinality(String), String),
    EventName String,
    -- What the body says; the exporter does not know of these columns.
    AuditEvent Tuple(
        event_id String, timestamp String, operation String, user_id Nullable(String), session_id Nullable(String),
        entry_ids Array(String), status String, duration_ms Nullable(Float64), error_type Nullable(String),
        subject_id Nullable(String), action Nullable(String), system Nullable(String), store Nullable(String),
        subjects Array(String), agent_id Nullable(String), on_behalf_of Nullable(String), sequence UInt64,
        previous_hash Nullable(String))
        MATERIALIZED JSONExtract(Body, 'Tuple(
        event_id String, timestamp String, operation String, user_id Nullable(String), session_id Nullable(String),
        entry_ids Array(String), status String, duration_ms Nullable(Float64), error_type Nullable(String),
        subject_id Nullable(String), action Nullable(String), system Nullable(String), store Nullable(String),
        subjects Array(String), agent_id Nullable(String), on_behalf_of Nullable(String), sequence UInt64,
        previous_hash Nullable(String))'),
    AuditTime Nullable(DateTime64(6, 'UTC'))
        MATERIALIZED parseDateTime64BestEffortOrNull(tupleElement(AuditEvent, 'timestamp'), 6, 'UTC'),
    AuditNote Array(String) -- of a checkpoint: trail, stream, size, root, events, head, time
        MATERIALIZED if(startsWith(Body, 'axon-audit/'), extractGroups(Body, '^axon-audit/([^\\n]+)/([0-9a-f]+)\\n([0-9]{1,19})\\n([^\\n]{44})\\nevents ([0-9]{1,19})(?: ([0-9a-f]{64}))?\\ntime ([^\\n]+)\\n'), []),
    AuditKind LowCardinality(String)
        MATERIALIZED multiIf(
            length(AuditNote) > 0, 'checkpoint',
            isValidJSON(Body) AND tupleElement(AuditEvent, 'event_id') != '' AND tupleElement(AuditEvent, 'operation') != ''
                AND tupleElement(AuditEvent, 'status') IN ('SUCCESS', 'FAILURE', 'PARTIAL') AND AuditTime IS NOT NULL, 'event',
            'other')
)
ENGINE = Null;

-- Every event, also twice until parts are merged: read the view audit_events. Only the bytes of the body count;
-- the columns beside it are made of it, and are there to find it. (A higher level of ZSTD makes the body larger:
-- most of it is random ids.)
CREATE TABLE IF NOT EXISTS audit_events_stored
(
    user_id String CODEC(ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    digest FixedString(16) CODEC(NONE), -- of the hash that the body had when it came, the first half
    body String CODEC(ZSTD(1)),
    trail LowCardinality(String) CODEC(ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    sequence UInt64 CODEC(Delta, ZSTD(1)),
    operation LowCardinality(String) CODEC(ZSTD(1)),
    status LowCardinality(String) CODEC(ZSTD(1)),
    subject_id String CODEC(ZSTD(1)),
    subjects Array(String) CODEC(ZSTD(1)),
    agent_id String CODEC(ZSTD(1)),
    on_behalf_of String CODEC(ZSTD(1)),
    system LowCardinality(String) CODEC(ZSTD(1)),
    store LowCardinality(String) CODEC(ZSTD(1)),
    action LowCardinality(String) CODEC(ZSTD(1)),
    error_type LowCardinality(String) CODEC(ZSTD(1)),
    duration_ms Nullable(Float32) CODEC(ZSTD(1)),
    deleted UInt32 CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    resource LowCardinality(String) CODEC(ZSTD(1)),
    from_process Bool CODEC(ZSTD(1)), -- of two copies, that of the process is kept, not that of a replay
    masked UInt32 CODEC(ZSTD(1)),
    contradicts Array(LowCardinality(String)) CODEC(ZSTD(1)),
    claimed_hash String CODEC(ZSTD(1)),
    event_id String ALIAS JSONExtractString(body, 'event_id'),
    session_id String ALIAS JSONExtractString(body, 'session_id'),
    trace_id String ALIAS JSONExtractString(body, 'trace_id'),
    span_id String ALIAS JSONExtractString(body, 'span_id'),
    entry_ids Array(String) ALIAS JSONExtract(body, 'entry_ids', 'Array(String)'),
    INDEX by_event_id JSONExtractString(body, 'event_id') TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id JSONExtractString(body, 'trace_id') TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_entry JSONExtract(body, 'entry_ids', 'Array(String)') TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_subject subjects TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session JSONExtractString(body, 'session_id') TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_operation operation TYPE set(32) GRANULARITY 1,
    INDEX by_status status TYPE set(8) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(from_process)
PARTITION BY toYYYYMM(timestamp)
PRIMARY KEY (user_id, timestamp)
ORDER BY (user_id, timestamp, digest);

CREATE MATERIALIZED VIEW IF NOT EXISTS audit_events_arrive TO audit_events_stored AS
WITH
    SHA256(concat(char(0), Body)) AS hash,
    LogAttributes['axon.audit.hash'] AS claimed,
    lower(hex(hash)) AS own,
    ['log.record.uid', 'axon.audit.hash', 'audit.sequence.number', 'audit.sequence.previous_hash', 'axon.operation',
     'axon.status', 'session.id', 'user.id'] AS names,
    [AuditEvent.event_id, own, toString(AuditEvent.sequence), ifNull(AuditEvent.previous_hash, ''), AuditEvent.operation,
     AuditEvent.status, ifNull(AuditEvent.session_id, ''), ifNull(AuditEvent.user_id, '')] AS from_body,
    arrayMap(name -> LogAttributes[if(name = 'user.id' AND mapContains(LogAttributes, 'user.hash'), 'user.hash', name)],
        names) AS from_attributes
SELECT
    ifNull(AuditEvent.user_id, '') AS user_id,
    least(greatest(assumeNotNull(AuditTime), toDateTime64('1970-01-01 00:00:00', 6, 'UTC')),
        toDateTime64('2105-12-31 23:59:59', 6, 'UTC')) AS timestamp,
    toFixedString(substring(hash, 1, 16), 16) AS digest,
    Body AS body,
    LogAttributes['axon.audit.trail'] AS trail,
    if(LogAttributes['audit.sequence.stream_id'] != '', LogAttributes['audit.sequence.stream_id'],
        concat(trail, ' ', ResourceAttributes['service.instance.id'])) AS stream,
    AuditEvent.sequence AS sequence,
    AuditEvent.operation AS operation,
    AuditEvent.status AS status,
    ifNull(AuditEvent.subject_id, '') AS subject_id,
    AuditEvent.subjects AS subjects,
    ifNull(AuditEvent.agent_id, '') AS agent_id,
    ifNull(AuditEvent.on_behalf_of, '') AS on_behalf_of,
    ifNull(AuditEvent.system, '') AS system,
    ifNull(AuditEvent.store, '') AS store,
    ifNull(AuditEvent.action, '') AS action,
    ifNull(AuditEvent.error_type, '') AS error_type,
    toFloat32(AuditEvent.duration_ms) AS duration_ms,
    toUInt32(least(4294967295, greatest(0, multiIf(
        operation NOT IN ('FORGET', 'SYNC', 'COMPACT'), 0::Int64,
        JSONType(Body, 'metadata', 'deleted') IN ('Int64', 'UInt64') AND JSONExtractInt(Body, 'metadata', 'deleted') >= 0,
            JSONExtractInt(Body, 'metadata', 'deleted'),
        operation != 'FORGET' OR status = 'FAILURE', 0::Int64,
        JSONType(Body, 'metadata', 'entry_ids_total') IN ('Int64', 'UInt64'),
            JSONExtractInt(Body, 'metadata', 'entry_ids_total'),
        length(AuditEvent.entry_ids) > 0, toInt64(length(AuditEvent.entry_ids)),
        toInt64(status = 'SUCCESS'))))) AS deleted,
    ServiceName AS service,
    toJSONString(ResourceAttributes) AS resource,
    mapContains(ResourceAttributes, 'service.instance.id') AS from_process,
    toUInt32OrZero(LogAttributes['redaction.body.masked.count']) AS masked,
    arrayFilter((name, said, meant) -> said != meant, names, from_attributes, from_body) AS contradicts,
    if(claimed = own, '', claimed) AS claimed_hash
FROM audit_records
WHERE AuditKind = 'event';

-- Signed notes that say how far a trail was (docs/shipping.md): the exporter's records of the other kind.
CREATE TABLE IF NOT EXISTS audit_checkpoints_stored
(
    trail LowCardinality(String),
    stream LowCardinality(String),
    events UInt64,
    head FixedString(32),
    time DateTime64(6, 'UTC'),
    note String CODEC(ZSTD(3)),
    service LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (stream, events, note);

CREATE MATERIALIZED VIEW IF NOT EXISTS audit_checkpoints_arrive TO audit_checkpoints_stored AS
SELECT AuditNote[1] AS trail, AuditNote[2] AS stream, toUInt64OrZero(AuditNote[5]) AS events,
    toFixedString(unhex(AuditNote[6]), 32) AS head,
    ifNull(parseDateTime64BestEffortOrNull(AuditNote[7], 6, 'UTC'), toDateTime64(Timestamp, 6, 'UTC')) AS time,
    Body AS note, ServiceName AS service
FROM audit_records
WHERE AuditKind = 'checkpoint';

-- Records under an audit event name that are neither: another program's, or what is left of an event.
CREATE TABLE IF NOT EXISTS audit_others_stored
(
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
    event_name LowCardinality(String),
    body String CODEC(ZSTD(3)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(3)),
    service LowCardinality(String),
    resource LowCardinality(String),
    digest FixedString(32) CODEC(NONE)
)
ENGINE = ReplacingMergeTree
ORDER BY (timestamp, digest);

CREATE MATERIALIZED VIEW IF NOT EXISTS audit_others_arrive TO audit_others_stored AS
SELECT Timestamp AS timestamp, EventName AS event_name, Body AS body, LogAttributes AS attributes,
    ServiceName AS service, toJSONString(ResourceAttributes) AS resource,
    SHA256(concat(EventName, char(0), toJSONString(LogAttributes), char(0), Body)) AS digest
FROM audit_records
WHERE AuditKind = 'other';
