"""The histogram that is counted here shows what prometheus_client's own one shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from axon_audit_otel.trail.histogram import CountedHistogram

_LABELS = "trail", "operation"
_BOUNDS = (0.0001, 0.25, 1.0, 30.0)
_series = st.sampled_from((("a", "STORE"), ("a", "RECALL"), ("b", "STORE")))
_number = st.one_of(st.sampled_from((0.0, *_BOUNDS)), st.floats(0, 1e6, width=32))
_observed = st.lists(st.tuples(_series, _number, st.sampled_from((None, "0af7", "b7ad"))))


def _made() -> Histogram:
    return Histogram("seconds", "How long.", _LABELS, registry=None, buckets=_BOUNDS)


@given(_observed)
def test_it_shows_what_prometheus_client_shows(observed: list[tuple]) -> None:
    theirs, ours = _made(), CountedHistogram(_made(), _LABELS, _BOUNDS)
    for labels, number, trace in observed:
        theirs.labels(*labels).observe(number, None if trace is None else {"trace_id": trace})
        ours.labels(*labels).observe(number, trace, 1.5)
    (expected,), (found,) = theirs.collect(), ours.collect()
    assert (found.name, found.documentation, found.type) == ("seconds", "How long.", "histogram")
    assert len(found.samples) == len(expected.samples)
    for one, other in zip(found.samples, expected.samples):
        assert one[:2] == other[:2]
        if not one.name.endswith("_created"):
            assert one.value == other.value
        assert (one.exemplar and one.exemplar[:2]) == (other.exemplar and other.exemplar[:2])
        assert one.exemplar is None or one.exemplar.timestamp == 1.5


def test_a_registry_can_show_it() -> None:
    ours, registry = CountedHistogram(_made(), _LABELS, _BOUNDS), CollectorRegistry()
    registry.register(ours)
    ours.labels("a", "STORE").observe(0.25, None, 1.5)
    text = generate_latest(registry).decode()
    assert 'seconds_bucket{le="0.25",operation="STORE",trail="a"} 1.0' in text
    assert 'seconds_bucket{le="0.0001",operation="STORE",trail="a"} 0.0' in text
    assert 'seconds_count{operation="STORE",trail="a"} 1.0' in text
