"""The command `mcp-proxy`: records what a client does with a memory server."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ..core.os_user import os_user
from ..events.identifiers import new_event_id
from .options import NotAnswered

__all__ = ["mcp_proxy"]


@click.command("mcp-proxy", context_settings={"allow_interspersed_args": False})
@click.option(
    "--archive",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the archive. Default: AXON_AUDIT_AUTO_EXPORT_PATH.",
)
@click.option("--user", help="Who acts. Default: the user who runs this.")
@click.option("--owner", help="Whose memory it is. Default: the one who acts.")
@click.option("--store", help="Which of several servers it is. Default: COMMAND's name.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def mcp_proxy(
    archive: Path | None,
    user: str | None,
    owner: str | None,
    store: str | None,
    command: tuple[str, ...],
) -> None:
    """Run an MCP server, and record each call of its tools.

    Put this in place of COMMAND where a client starts its memory server on standard input and
    output; nothing else changes:

    \b
    axon-audit mcp-proxy --archive audit_logs -- \\
      npx -y @modelcontextprotocol/server-memory

    Every setting of the audit trail is taken from its variable (AXON_AUDIT_...). The exit code is
    that of the server.
    """
    from ..integrations.mcp.proxy import run  # slow to import, as the next
    from ..integrations.mcp.tools import Tools
    from ..trail.audit_logger import AuditLogger

    acting = user or os_user().name
    with AuditLogger(auto_export_path=archive) as audit:
        tools = Tools(audit, owner=owner or acting, store=store or Path(command[0]).name)
        session = f"mcp-{new_event_id(time.time_ns())[4:]}"
        try:
            code = run(tools, list(command), user_id=acting, session_id=session)
        except OSError as exc:
            msg = f"{command[0]!r} cannot be run: {exc.strerror or exc}"
            raise NotAnswered(msg) from None
    sys.exit(code)
