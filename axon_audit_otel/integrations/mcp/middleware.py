"""`AuditMiddleware`: records the calls of the tools of a FastMCP server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
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
        await self._learn(context, name)
        try:
            async with self._tools.operation(name, arguments, **_who(context)) as op:
                result = await call_next(context)
                if result.is_error:
                    op.failed(TOOL_ERROR)
                else:
                    self._tools.report(op, name, arguments, result.structured_content)
        except AuditUnavailableError as exc:
            raise ToolError(str(exc)) from exc  # what a client is told
        return result

    async def _learn(self, context: Any, name: str) -> None:
        """Ask once what the server says of a tool whose name tells nothing."""
        if self._tools.is_told(name) or context.fastmcp_context is None:
            return
        with suppress(Exception):  # the call itself raises it: there may be no such tool
            tool = await context.fastmcp_context.fastmcp.get_tool(name)
            said = tool.annotations.model_dump(by_alias=True, exclude_none=True)
            self._tools.learn(name, said)


def _who(context: Any) -> dict[str, Any]:
    """Who acts, and in which session, where `audit_context` does not say it."""
    here, who = current_identity(), dict[str, Any]()
    with suppress(Exception):  # of the server's own classes: then it is not known
        if here.user_id is None and (token := get_access_token()) is not None:
            who["user_id"] = token.client_id
        if here.session_id is None and context.fastmcp_context is not None:
            who["session_id"] = context.fastmcp_context.session_id
    return who
