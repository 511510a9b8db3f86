-- What is asked of the tables of schema.sql. docs/clickhouse.md has questions.
--
-- Does:  each event, checkpoint and other record once; what each person did; what is missing, altered or put in.
-- Needs: schema.sql. It can be run again, after an update too: it replaces views, and holds no data.
-- Loses: nothing.
-- Each event once, also while ClickHouse has not merged its copies yet.
CREATE OR REPLACE VIEW audit_events AS
SELECT event_id, timestamp, operation, status, user_id, session_id, entry_ids, subject_id, subjects, agent_id,
    on_behalf_of, JSONExtractString(body, 'purpose') AS purpose, system, store, action, error_type,
    JSONExtractString(body, 'error_message') AS error_message, duration_ms, deleted,
    JSONExtractRaw(body, 'metadata') AS metadata, JSONExtract(body, 'derived_from', 'Array(String)') AS derived_from,
    trace_id, span_id, JSONExtractString(body, 'trace_flags') AS trace_flags, trail, stream, sequence, JSONExtractString(body, 'previous_hash') AS previous_hash,
    lower(hex(SHA256(concat(char(0), body)))) AS hash, claimed_hash, contradicts, masked, service, resource, body
FROM audit_events_stored FINAL;

CREATE OR REPLACE VIEW audit_checkpoints AS
SELECT trail, stream, events, lower(hex(head)) AS head, time, note, position(note, '\n\n— ') > 0 AS is_signed, service
FROM audit_checkpoints_stored FINAL;

CREATE OR REPLACE VIEW audit_others AS
SELECT timestamp, event_name, body, attributes, service, resource
FROM audit_others_stored FINAL;

-- What each person did, day by day, in each system.
CREATE OR REPLACE VIEW audit_activity AS
SELECT user_id, toDate(timestamp) AS day, trail, system, agent_id, operation, status, count() AS events,
    sum(deleted) AS entries_deleted, min(timestamp) AS first, max(timestamp) AS last
FROM (SELECT user_id, timestamp, trail, system, agent_id, operation, status, deleted FROM audit_events)
WHERE operation != 'AUDIT'
GROUP BY user_id, day, trail, system, agent_id, operation, status;

-- How much of each trail is here.
CREATE OR REPLACE VIEW audit_trails AS
SELECT trail, stream, count() AS events, min(sequence) AS first_sequence, max(sequence) AS last_sequence,
    toUInt64(last_sequence - first_sequence + 1 - uniqExact(sequence)) AS missing_between, min(timestamp) AS first,
    max(timestamp) AS last, countIf(masked > 0) AS masked_events
FROM (SELECT trail, stream, sequence, timestamp, masked FROM audit_events)
GROUP BY trail, stream;

-- Of the events of some time (Unix time in milliseconds), each one's place: is its hash that of its body, and does it name the hash of the event before?
-- finding is '' for an event that fits. What is missing is in audit_gaps. (Of an event that was altered here, half of
-- its hash is known: the event after it is held against that.)
CREATE OR REPLACE VIEW audit_chain_between AS
SELECT trail, stream, sequence, timestamp, user_id, lower(hex(own)) AS hash,
    multiIf(
        is_altered, 'altered here',
        is_claimed, 'altered before it came',
        sequence = 0, 'has no number',
        before = sequence, if(own_before = own, '', 'another event has its number'),
        before < sequence - 1 OR (known_before = previous OR known_before = half), '',
        second_before = sequence - 1 AND (second_known_before = previous OR second_known_before = half), '',
        'does not continue the event before')::LowCardinality(String) AS finding
FROM (
    SELECT trail, stream, sequence, timestamp, user_id, is_altered, is_claimed, own, previous, half,
        lagInFrame(sequence) OVER place AS before, lagInFrame(own) OVER place AS own_before,
        lagInFrame(known) OVER place AS known_before,
        lagInFrame(sequence, 2) OVER place AS second_before, lagInFrame(known, 2) OVER place AS second_known_before
    FROM (
        SELECT trail, stream, sequence, timestamp, user_id, claimed_hash != '' AS is_claimed,
            SHA256(concat(char(0), body)) AS own, toFixedString(substring(own, 1, 16), 16) != digest AS is_altered,
            if(endsWith(body, '"}') AND substring(body, -84, 18) = ',"previous_hash":"', substring(body, -66, 64),
                JSONExtractString(body, 'previous_hash')) AS text,
            toFixedString(if(length(text) = 64, unhex(text), ''), 32) AS previous,
            toFixedString(substring(previous, 1, 16), 32) AS half,
            multiIf(is_altered, toFixedString(digest, 32), length(claimed_hash) = 64,
                toFixedString(unhex(claimed_hash), 32), own) AS known
        FROM audit_events_stored
        WHERE timestamp BETWEEN fromUnixTimestamp64Milli({from_ms:Int64}) AND fromUnixTimestamp64Milli({to_ms:Int64}))
    -- known and previous sort nothing: else ClickHouse would sort bodies, and make these two of them afterwards.
    WINDOW place AS (PARTITION BY stream ORDER BY sequence, own, known, previous ROWS BETWEEN 2 PRECEDING AND CURRENT ROW));

-- The same of all events.
CREATE OR REPLACE VIEW audit_chain AS
SELECT trail, stream, sequence, timestamp, user_id, hash, finding
FROM audit_chain_between(from_ms = -1, to_ms = 4300000000000);

-- The numbers that no event here has, up to the newest event or checkpoint. told: the trail itself says that it lost them.
CREATE OR REPLACE VIEW audit_gaps AS
WITH told AS (
    SELECT stream, groupArray((JSONExtractUInt(body, 'metadata', 'first'), JSONExtractUInt(body, 'metadata', 'last'))) AS ranges
    FROM audit_events_stored
    WHERE operation = 'AUDIT' AND JSONExtractString(body, 'metadata', 'record') = 'gap'
    GROUP BY stream)
SELECT trail, stream, first, last, toUInt64(last - first + 1) AS events, until,
    arrayExists(one -> one.1 <= first AND last <= one.2, ranges) AS told
FROM (
    SELECT trail, stream, toUInt64(before + 1) AS first, toUInt64(sequence - 1) AS last, timestamp AS until
    FROM (
        SELECT trail, stream, sequence, timestamp,
            lagInFrame(sequence) OVER (PARTITION BY stream ORDER BY sequence ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
        FROM audit_events_stored
        WHERE sequence > 0)
    WHERE sequence > before + 1
    UNION ALL
    SELECT trail, stream, toUInt64(newest + 1) AS first, known AS last, at AS until
    FROM (
        SELECT any(c.trail) AS trail, stream, max(c.events) AS known, argMin(c.time, -c.events) AS at
        FROM audit_checkpoints_stored AS c
        GROUP BY stream) AS stated
    LEFT JOIN (SELECT stream, max(sequence) AS newest FROM audit_events_stored GROUP BY stream) AS here USING (stream)
    WHERE known > newest) AS gaps
LEFT JOIN told USING (stream);

-- Does each checkpoint speak of the event that is here? ClickHouse does not verify its signature.
CREATE OR REPLACE VIEW audit_checkpoint_check AS
SELECT c.trail AS trail, c.stream AS stream, c.events AS sequence, c.time AS time, c.is_signed AS is_signed,
    multiIf(c.events = 0, '', empty(here.hashes), 'its event is missing',
        has(here.hashes, c.head), '', 'it is another event') AS finding
FROM audit_checkpoints AS c
LEFT JOIN (
    SELECT stream, sequence, groupUniqArray(lower(hex(SHA256(concat(char(0), body))))) AS hashes
    FROM audit_events_stored
    WHERE (stream, sequence) IN (SELECT stream, events FROM audit_checkpoints_stored)
    GROUP BY stream, sequence) AS here ON here.stream = c.stream AND here.sequence = c.events;

-- Two events that have one id: one of them is altered, or invented.
CREATE OR REPLACE VIEW audit_doubled_ids AS
SELECT event_id, count() AS events, groupArray((trail, stream, sequence)) AS places
FROM (SELECT event_id, trail, stream, sequence FROM audit_events)
GROUP BY event_id
HAVING events > 1;
