"""What is known of entries is bounded, and follows what was saved, read and deleted."""

from __future__ import annotations

from axon_audit_otel.events.entries import Entries
from axon_audit_otel.events.stores import Store


def saved(store: Store, key: str, fingerprint: str, now: int = 0, owner: str = "ann") -> None:
    """Save an entry, from the announcement to the end."""
    store.saving(key, owner, fingerprint)
    store.saved([key], now)


def test_bounded() -> None:
    """Of a thousand entries the newest are known."""
    store = Store(Entries(most=100))
    for number in range(1_000):
        saved(store, f"e{number}", f"abc{number}", owner=f"user {number}")
    assert [store.owner("e999"), store.state("e999")] == ["user 999", "abc999"]
    assert store.owner("e950") == "user 950"
    assert [store.owner("e0"), store.state("e0")] == [None, None]


def test_two_stores() -> None:
    """An id in two stores is two entries; a third store is told of the newest, which all may have:
    two of them may be one server."""
    trail = Entries()
    one, other, third = Store(trail), Store(trail), Store(trail)
    saved(one, "e", "abc1", owner="ann")
    saved(other, "e", "abc2", owner="bob")
    assert [one.owner("e"), other.owner("e"), third.owner("e")] == ["ann", "bob", "bob"]
    assert one.agrees("e", "abc1", began=1)
    assert one.agrees("e", "abc2", began=1)
    assert not one.agrees("e", "abc3", began=1)
    other.set_state(["e"], 10)
    assert [one.see({"e": "ann"}, 20), other.see({"e": "bob"}, 20)] == [[], ["e"]]


def test_read_while_it_is_saved() -> None:
    """Who began to read before a change was over may have seen either content."""
    store = Store(Entries())
    saved(store, "e", "abc1", 10)
    store.saving("e", "ann", "abc2")
    assert store.agrees("e", "abc1", began=15)
    assert store.agrees("e", "abc2", began=15)
    store.saved(["e"], now=20)
    assert store.agrees("e", "abc1", began=15)
    assert not store.agrees("e", "abc1", began=25)
    assert store.agrees("e", "abc2", began=25)


def test_read_while_it_is_deleted() -> None:
    """An entry is back only for who began to read after it was gone."""
    store = Store(Entries())
    saved(store, "e", "abc1")
    store.set_state(["e"], 10)
    assert [store.see({"e": "ann"}, began) for began in (5, 15)] == [[], ["e"]]
    saved(store, "e", "abc1", 20)
    assert store.see({"e": "ann"}, 25) == []


def test_another_key() -> None:
    """Fingerprints of two keys cannot be compared: the newer one counts from then on."""
    store = Store(Entries())
    saved(store, "e", "abc1")
    assert store.agrees("e", "xyz2", began=1)
    assert not store.agrees("e", "xyz3", began=1)
