-- Deletes events from ClickHouse by age, but none that is under a legal hold.
--
-- Does:  audit_holds has the holds, each with its history. audit_holds_ranges keeps those in force in memory; the
--        rule of age asks it, for each event, when parts are merged. A hold covers the events of a trail ('': every
--        trail) and of a person, who acted or whose data it was ('': everybody), from one time to another.
-- Needs: schema.sql. Say your number of days below. If the user default has a password, or may not connect from
--        the server itself: USER and PASSWORD of one who may read audit_holds, after TABLE. Until ClickHouse has
--        read the holds, nothing is deleted, and nothing inserted: records wait in the collector's queue.
-- Loses: what is older than that, within hours. A hold is in force when SYSTEM RELOAD DICTIONARY has returned:
--        INSERT INTO audit_holds (name, reason, user_id) VALUES ('case-17', 'Case 17', 'alice');
--        SYSTEM RELOAD DICTIONARY audit_holds_ranges;
CREATE TABLE IF NOT EXISTS audit_holds
(
    name String,
    reason String,
    trail String,
    user_id String,
    since DateTime64(6, 'UTC') DEFAULT '1970-01-01 00:00:00',
    until DateTime64(6, 'UTC') DEFAULT '2105-12-31 23:59:59.999999',
    placed_by String DEFAULT currentUser(),
    changed_at DateTime64(6, 'UTC') DEFAULT now64(6),
    released Bool DEFAULT false
)
ENGINE = MergeTree
ORDER BY (name, changed_at);

CREATE VIEW IF NOT EXISTS audit_holds_in_force AS
SELECT name, argMax(h.reason, h.changed_at) AS reason, argMax(h.trail, h.changed_at) AS trail,
    argMax(h.user_id, h.changed_at) AS user_id, argMax(h.since, h.changed_at) AS since,
    argMax(h.until, h.changed_at) AS until, argMax(h.placed_by, h.changed_at) AS placed_by,
    max(h.changed_at) AS changed_at
FROM audit_holds AS h
GROUP BY name
HAVING NOT argMax(h.released, h.changed_at);

CREATE DICTIONARY IF NOT EXISTS audit_holds_ranges
(
    trail String,
    user_id String,
    since DateTime64(6, 'UTC'),
    until DateTime64(6, 'UTC'),
    name String
)
PRIMARY KEY trail, user_id
SOURCE(CLICKHOUSE(TABLE 'audit_holds_in_force'))
LAYOUT(COMPLEX_KEY_RANGE_HASHED())
RANGE(MIN since MAX until)
LIFETIME(MIN 5 MAX 10);

ALTER TABLE audit_events_stored MODIFY TTL
    least(toDateTime(timestamp), toDateTime('2090-01-01 00:00:00')) + INTERVAL 400 DAY DELETE
    WHERE NOT arrayExists(
        person -> dictHas('audit_holds_ranges', (toString(trail), person), timestamp)
            OR dictHas('audit_holds_ranges', ('', person), timestamp),
        arrayConcat(['', user_id, subject_id, on_behalf_of], subjects));
