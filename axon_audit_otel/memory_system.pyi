from collections.abc import Iterable, Mapping
from typing import Any, Literal

from axon import Filter as _Filter
from axon import MemoryEntry
from axon import MemorySystem as _MemorySystem
from axon.models import DateRange
from axon.models.base import PrivacyLiteral

__all__ = ["Filter", "MemorySystem"]

class Filter(_Filter):  # type: ignore[misc,unused-ignore]
    def __init__(
        self,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        tags: list[str] | None = None,
        date_range: DateRange | None = None,
        older_than_days: int | None = None,
        privacy_level: PrivacyLiteral | None = None,
        min_importance: float | None = None,
        max_importance: float | None = None,
        custom: dict[str, Any] | None = None,
    ) -> None: ...

class MemorySystem(_MemorySystem):  # type: ignore[misc,unused-ignore]
    async def store(
        self,
        content: str,
        metadata: dict[str, Any] | None = None,
        importance: float | None = None,
        tags: list[str] | None = None,
        tier: str | None = None,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> str: ...
    async def recall(
        self,
        query: str,
        k: int = 5,
        filter: _Filter | None = None,
        tiers: list[str] | None = None,
        min_importance: float | None = None,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> list[MemoryEntry]: ...
    async def forget(
        self,
        entry_id: str | None = None,
        *,
        filter: _Filter | None = None,
        tier: str | None = None,
        everything: bool = False,
        derived: Literal["delete"] | None = None,
        request_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> int: ...
    async def export(
        self,
        tier: str | None = None,
        filter: _Filter | None = None,
        include_embeddings: bool = True,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]: ...
    async def import_from(
        self,
        data: dict[str, Any],
        overwrite: bool = False,
        tier_mapping: dict[str, str] | None = None,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, int]: ...
    async def import_data(
        self,
        data: Mapping[str, Any] | Iterable[str | MemoryEntry | Mapping[str, Any]],
        overwrite: bool = False,
        tier_mapping: dict[str, str] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]: ...
    async def sync(
        self,
        source_tier: str,
        target_tier: str,
        filter: _Filter | None = None,
        delete_source: bool = False,
        conflict_resolution: str = "newer",
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, int]: ...
    async def compact(
        self,
        tier: str | None = None,
        strategy: Any = "count",
        threshold: int | None = None,
        dry_run: bool = False,
        summarizer: Any = None,
        embedder: Any = None,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]: ...
