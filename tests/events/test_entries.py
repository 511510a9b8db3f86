"""What is known of entries is bounded, and follows what was saved, read and deleted."""

from __future__ import annotations

from axon_audit_otel.events.entries import Entries


def test_bounded() -> None:
    """Of a thousand entries the newest are known, of a store as of its trail."""
    trail = Entries(most=100)
    store = Entries(most=20, trail=trail)
    for number in range(1_000):
        store.see({f"e{number}": f"user {number}"})
        store.saving({f"e{number}": f"abc{number}"})
    assert store.owner("e999") == "user 999"
    assert store.owner("e960") == "user 960"  # the trail knows it
    assert [store.owner("e0"), store.state("e0")] == [None, None]
    assert store.state("e999") == "abc999"


def test_read_while_it_is_saved() -> None:
    """Who began to read before a change was over may have seen either content."""
    known = Entries()
    known.saving({"e": "abc1"})
    known.saved(["e"], now=10)
    known.saving({"e": "abc2"})
    assert known.agrees("e", "abc1", began=15)
    assert known.agrees("e", "abc2", began=15)
    known.saved(["e"], now=20)
    assert known.agrees("e", "abc1", began=15)
    assert not known.agrees("e", "abc1", began=25)
    assert known.agrees("e", "abc2", began=25)


def test_read_while_it_is_deleted() -> None:
    """An entry is back only for who began to read after it was gone."""
    known = Entries()
    known.saving({"e": "abc1"})
    known.delete(["e"], now=10)
    assert [known.is_gone("e", began) for began in (5, 15)] == [False, True]
    known.saving({"e": "abc1"})
    assert not known.is_gone("e", 15)


def test_another_key() -> None:
    """Fingerprints of two keys cannot be compared: the newer one counts from then on."""
    known = Entries()
    known.saving({"e": "abc1"})
    assert known.agrees("e", "xyz2", began=1)
    assert not known.agrees("e", "xyz3", began=1)
