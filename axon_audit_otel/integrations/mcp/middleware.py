"""`AuditMiddleware`: records the calls of the tools of a FastMCP server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import Middleware

from ...core.errors import AuditUnavailableError
from ...events.identity import current_identity
from ...trail.audit_logger import AuditLogger
from .tools import TOOL_ERROR, Tool, Tools

__all__ = ["AuditMiddleware"]


class AuditMiddleware(Middleware):
    """Records each call of a tool as one event.

    What a tool does is told by its name, its annotations, and *described*. The session is that of
    the connection; the client that has authenticated acts, where `audit_context` names nobody.

    Args:
        audit: Where the calls are recorded.
        described: What further tools do, by their names.
        owner: Whose memory it is. Default: not known.
        store: Which of several servers it is.
        private_ids: See `Tools`.
    """

    def __init__(
        self,
        audit: AuditLogger,
        described: Mapping[str, Tool] | None = None,
        *,
        owner: str | None = None,
        store: str | None = None,
        private_ids: bool = True,
    ) -> None:
        self._tools = Tools(audit, described, owner=owner, store=store, private_ids=private_ids)

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        """Record one call."""
        name, arguments = context.message.name, context.message.arguments or {}
        who = await self._who(context, name)
        try:
            async with self._tools.operation(name, arguments, **who) as op:
                result = await call_next(context)
                if result.is_error:
                    op.failed(TOOL_ERROR)
                else:
                    self._tools.report(op, name, arguments, result.structured_content)
        except AuditUnavailableError as exc:
            raise ToolError(str(exc)) from exc  # what a client is told
        return result

    async def _who(self, context: Any, name: str) -> dict[str, Any]:
        here, around, token = current_identity(), context.fastmcp_context, get_access_token()
        who: dict[str, Any] = {}
        if here.user_id is None and token is not None:
            who["user_id"] = token.client_id
        if here.session_id is None and around is not None:
            who["session_id"] = around.session_id
        if around is not None:
            tool = await around.fastmcp.get_tool(name)
            said = getattr(tool, "annotations", None)
            if said is not None:
                self._tools.learn(name, said.model_dump(by_alias=True, exclude_none=True))
        return who
