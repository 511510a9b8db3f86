"""`LangGraphInstrumentor`: records the store of every graph that is made from then on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ...core.log import logger
from ...trail.audit_logger import AuditLogger
from ..instrumentor import LibraryInstrumentor
from ..wrappers import Wrappers

__all__ = ["LangGraphInstrumentor"]


class LangGraphInstrumentor(LibraryInstrumentor):
    """Records the operations on the stores that graphs are given: ``compile(store=...)``.

    `instrument` takes, besides what all instrumentors take, ``owner`` and ``private_ids``: see
    `AuditedStore`.
    A store that is used without a graph is recorded by `AuditedStore` alone. After `uninstrument`
    the graphs that were made meanwhile are not recorded any more.
    """

    instruments = ("langgraph >= 1, < 2",)
    options = frozenset({"owner", "private_ids"})

    def wrap(self, wrappers: Wrappers, audit: AuditLogger, options: Mapping[str, Any]) -> None:
        """Give each new graph an audited store."""
        from langgraph.pregel import Pregel
        from langgraph.store.base import BaseStore

        from .store import AuditedStore

        private = options.get("private_ids", True)

        def make(original: Any) -> Any:
            @functools.wraps(original)
            def created(graph: Any, /, *args: Any, **kwargs: Any) -> None:
                store = kwargs.get("store")
                if wrappers.active and isinstance(store, BaseStore):
                    try:
                        if not isinstance(store, AuditedStore):
                            kwargs["store"] = AuditedStore.of_graph(
                                store, audit, options.get("owner"), private, lambda: wrappers.active
                            )
                    except Exception:  # the graph must work
                        logger.exception("a store of LangGraph is not recorded")
                original(graph, *args, **kwargs)

            return created

        wrappers.wrap(Pregel, "__init__", make)
