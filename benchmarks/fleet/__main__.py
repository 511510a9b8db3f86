"""``python -m benchmarks.fleet``: rehearses a fleet, and plans a million events a minute.

Needs what the tests with real servers need: the collector (``python3 tools/collector.py``),
VictoriaLogs (``python3 tests/go_programs.py``), and chdb; and Linux, for the bytes on the wire.
"""
import sys,tempfile,pprint
from pathlib import Path
from .rehearsal import *
def main():
    with tempfile.TemporaryDirectory(prefix="axon-audit-fleet-") as d:
        pprint.pprint(rehearse(Path(d), Options(processes=5,agents=2,rate=100,tenth=0,seconds=8,down=3,around=3), lambda w: print(w,flush=True)))
if __name__=="__main__": main()
