"""A client of a memory server behind the proxy, which records its calls: needs no network.

python3 examples/mcp_memory.py [COMMAND ...]     the server; without one, a small one of this file
"""

import json
import subprocess
import sys

SERVER = """
import json, sys
kept = {}
for line in sys.stdin:
    asked = json.loads(line)
    given = asked["params"]["arguments"]
    if asked["params"]["name"] == "create_entities":
        kept.update((one["name"], one) for one in given["entities"])
    found = [kept[name] for name in given.get("names", kept) if name in kept]
    if asked["params"]["name"] == "delete_entities":
        found = [kept.pop(name, None) for name in given["entityNames"]]
    result = {"structuredContent": {"entities": found}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

command = sys.argv[1:] or [sys.executable, "-c", SERVER]
audit = [sys.executable, "-m", "axon_audit_otel"]
proxy = [*audit, "mcp-proxy", "--archive", "mcp_audit", "--user", "alice", "--", *command]
BOB = {"name": "Bob", "entityType": "person", "observations": ["likes tea"]}
CALLS = [
    ("create_entities", {"entities": [BOB]}),
    ("open_nodes", {"names": ["Bob"]}),
    ("delete_entities", {"entityNames": ["Bob", "Nobody"]}),
]

with subprocess.Popen(proxy, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
    assert run.stdin is not None
    assert run.stdout is not None
    for number, (name, arguments) in enumerate(CALLS, 1):
        params = {"name": name, "arguments": arguments}
        asked = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        run.stdin.write(json.dumps(asked).encode() + b"\n")
        run.stdin.flush()
        print(name, json.loads(run.stdout.readline())["result"]["structuredContent"])
subprocess.run([*audit, "query", "mcp_audit"], check=True)
print("now: axon-audit verify mcp_audit")
