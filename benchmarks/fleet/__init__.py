"""A rehearsal of a whole fleet: applications, agents, a gateway and two stores, each of which is
killed under load; and from what it cost, the plan for a million events a minute."""
