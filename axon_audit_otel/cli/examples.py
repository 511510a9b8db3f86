"""What stands at the end of a help: examples of each command; exit codes and variables of all."""

from __future__ import annotations

__all__ = ["EPILOG", "EXAMPLES", "epilog_of"]

#: Of the whole program.
EPILOG = """\b
Environment variables, the same as the application's:
  AXON_AUDIT_ERASABLE       --keys
  AXON_AUDIT_PSEUDONYMIZE   --pseudonymize
  AXON_AUDIT_SIGNING_KEY    --signing-key
  AXON_AUDIT_RECORD_READS   which readings of an archive are recorded
  AXON_AUDIT_STORE_HEADERS  headers for --store: name=value,...
  NO_COLOR, FORCE_COLOR     no colour; colour also in a pipe

\b
Exit codes:
  0    success
  1    something could not be done, or a file could not be read: the rest is
       printed, and standard error names the file
  2    wrong arguments, or PATH does not exist
  130  ended by Ctrl-C

Commands that answer a question have exit codes of their own, which their help explains: alerts,
verify, report, subject, receipt, lineage, influence, reconcile."""

#: The arguments of typical calls, by command.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "query": (
        "audit_logs --subject alice --since monday",
        "audit_logs --status FAILURE --columns user,action,event",
        "audit_logs --json | jq -r .user_id",
    ),
    "stats": ("audit_logs --since 24h",),
    "tail": ("audit_logs --follow",),
    "alerts": ("audit_logs --last 30d", "audit_logs --rules rules.json"),
    "view": ("audit_logs --key my-app.pub",),
    "verify": (
        "audit_logs",
        "audit_logs --key my-app.pub",
        "events.jsonl --otlp-json --archive audit_logs",
        "audit_logs --store clickhouse+http://clickhouse:8123",
    ),
    "prove": (
        "evt_01a2... audit_logs --output proof.json",
        "--script > verify_proof.py",
    ),
    "keygen": ("my-app > my-app.pub",),
    "hold": ('audit_logs --reason "Doe v. Acme"', "audit_logs --release"),
    "report": ("audit_logs --month last --key my-app.pub -o report.zip",),
    "subject": ("alice audit_logs --key my-app.pub --output alice.html",),
    "receipt": ("evt_01a2... audit_logs --subject alice --html alice.html",),
    "export": (
        "audit_logs audit.csv --since 2025-01 --until 2025-01",
        "audit_logs - --format ocsf | less",
    ),
    "lineage": ("8e673983-... audit_logs",),
    "influence": ("8e673983-... audit_logs",),
    "reconcile": ("audit_logs --memory app:memory",),
    "erase": ('alice audit_logs --reason "ticket 7"',),
    "pseudonym": ("alice --pseudonymize @pseudonyms.secret",),
    "assets": ("--output monitoring", "--output monitoring --kubernetes --namespace ops"),
    "demo": ("", "--serve"),
    "index": ("audit_logs",),
    "mcp-proxy": ("--archive audit_logs -- python my_server.py",),
    "replay": (
        "audit_logs --endpoint http://collector:4318",
        "audit_logs --store clickhouse+http://clickhouse:8123",
    ),
}


def epilog_of(command: str) -> str:
    """The examples of *command*, as click prints them at the end of its help."""
    lines = [f"  axon-audit {command} {example}".rstrip() for example in EXAMPLES[command]]
    return "\n".join(["\b", f"Example{'s' if len(lines) > 1 else ''}:", *lines])
