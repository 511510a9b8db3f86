"""Alerting rules."""

from __future__ import annotations

from axon_audit_otel.rules import Rule


def counted(rule: Rule) -> tuple[str, ...]:
    """Label matchers for the operations that *rule* counts."""
    matchers = []
    for label, members in (("operation", rule.operations), ("status", rule.statuses)):
        if members:
            names = "|".join(sorted(member.value for member in members))
            matchers.append(f'{label}=~"{names}"' if "|" in names else f'{label}="{names}"')
    return tuple(matchers)
