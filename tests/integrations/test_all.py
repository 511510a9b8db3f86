"""All integrations of a process start at once, those of other packages too."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Make, Run, only_event
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from axon_audit_otel import AuditLogger, AuditUnavailableError, AxonInstrumentor, instrument_all
from axon_audit_otel.integrations import all as every
from axon_audit_otel.integrations.instrumentor import LibraryInstrumentor


class Notes:
    """A memory of another package."""

    def add(self, text: str) -> str:
        return text


class NotesInstrumentor(LibraryInstrumentor):
    """Its integration."""

    instruments = ("pytest >= 1",)

    def wrap(self, wrappers: Any, audit: AuditLogger, options: Any) -> None:
        def make(original: Any) -> Any:
            def add(notes: Notes, text: str) -> Any:
                with audit.operation("STORE", system="notes", action="Notes.add") as op:
                    result = original(notes, text)
                    op.saved(result)
                return result

            return add

        wrappers.wrap(Notes, "add", make)


class MissingInstrumentor(LibraryInstrumentor):
    """Of a library that is not here."""

    instruments = ("no-such-library >= 1",)

    def wrap(self, wrappers: Any, audit: AuditLogger, options: Any) -> None:
        import_module("no_such_library")


class ChangedInstrumentor(LibraryInstrumentor):
    """Of a library whose version here lacks what is wrapped."""

    instruments = ("pytest >= 1",)

    def wrap(self, wrappers: Any, audit: AuditLogger, options: Any) -> None:
        import_module("pytest.no_such_module")


class FailingInstrumentor:
    """One that cannot even be made."""

    def __init__(self) -> None:
        raise RuntimeError("of another version")


def points(*classes: type) -> list[metadata.EntryPoint]:
    """Entry points of integrations in this file."""
    return [
        metadata.EntryPoint(cls.__name__, f"{__name__}:{cls.__name__}", every.GROUP)
        for cls in classes
    ]


class TestAll:
    def test_ours_are_listed(self) -> None:
        """The package lists its own integrations, also for `opentelemetry-instrument`."""
        names = {point.name for point in metadata.entry_points(group=every.GROUP)}
        assert names >= {"axon", "langgraph", "mem0"}
        values = {p.value for p in metadata.entry_points(group="opentelemetry_instrumentor")}
        assert values >= {point.value for point in metadata.entry_points(group=every.GROUP)}

    def test_others(
        self,
        audit: AuditLogger,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """One that fails is told, and the others go on; one without its library does nothing."""
        found = points(FailingInstrumentor, MissingInstrumentor, NotesInstrumentor)
        monkeypatch.setattr(every, "entry_points", lambda group: found)
        assert instrument_all(audit_logger=audit) == ["NotesInstrumentor"]
        assert "FailingInstrumentor" in caplog.text
        assert "of another version" in caplog.text
        Notes().add("n1")
        assert only_event(audit).entry_ids == ["n1"]
        NotesInstrumentor().uninstrument()
        Notes().add("n2")
        assert only_event(audit).entry_ids == ["n1"]

    def test_without_its_library(
        self, audit: AuditLogger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`opentelemetry-instrument` starts each of ours without asking what it needs: one whose
        library is not installed says nothing, one that finds another library than it knows does."""
        try:
            MissingInstrumentor().instrument(skip_dep_check=True, audit_logger=audit)
            assert caplog.text == ""
            ChangedInstrumentor().instrument(skip_dep_check=True, audit_logger=audit)
            assert "pytest >= 1 is not instrumented" in caplog.text
        finally:
            MissingInstrumentor().uninstrument()
            ChangedInstrumentor().uninstrument()

    def test_nothing_goes_on_unrecorded(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With ``on_failure="block"``, a library that cannot be recorded is refused, not only
        warned of."""
        audit = make_audit(auto_export_path=tmp_path / "logs", on_failure="block")
        monkeypatch.setattr(every, "entry_points", lambda group: points(ChangedInstrumentor))
        with pytest.raises(AuditUnavailableError, match="pytest >= 1 is not instrumented"):
            every.instrument_all(audit_logger=audit)

    @pytest.mark.slow
    @pytest.mark.component
    @pytest.mark.parametrize(("disabled", "count"), [("", 1), ("mem0-memory,langgraph-memory", 0)])
    def test_any_library_is_enough(self, run_script: Run, disabled: str, count: int) -> None:
        """`opentelemetry-instrument` starts nothing of a package whose extra `instruments` is not
        there as a whole: what is left out then is started at its end."""
        printed = run_script(
            """
            import sys
            from importlib import metadata
            real = metadata.version
            def version(name):
                if name == "axon-sdk":
                    raise metadata.PackageNotFoundError(name)
                return real(name)
            metadata.version = version
            from opentelemetry.instrumentation import dependencies
            dependencies.version = version
            from opentelemetry.instrumentation.auto_instrumentation import initialize
            initialize()
            from langgraph.store.memory import InMemoryStore
            from axon_audit_otel.integrations.langgraph.instrumentor import LangGraphInstrumentor
            print(int(LangGraphInstrumentor().is_instrumented_by_opentelemetry))
            """,
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled,
            **dict.fromkeys(
                ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none"
            ),
        )
        assert printed.split()[-1] == str(count)

    @pytest.mark.usefixtures("fresh_name")
    def test_one_trail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a logger, all record to the one that the environment describes."""
        monkeypatch.setattr(every, "entry_points", lambda group: points(NotesInstrumentor))
        instrument_all()
        AxonInstrumentor().instrument()
        try:
            Notes().add("n1")
            logger = AxonInstrumentor().audit_logger
            assert logger is not None
            assert only_event(logger).system == "notes"
        finally:
            AxonInstrumentor().uninstrument()
            NotesInstrumentor().uninstrument()

    def test_one_is_undone(
        self,
        audit: AuditLogger,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """The end of one integration leaves the providers of another one as they are."""
        NotesInstrumentor().uninstrument()
        NotesInstrumentor().instrument(audit_logger=audit)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        NotesInstrumentor().uninstrument()
        with audit.operation("STORE"):
            pass
        assert len(span_exporter.get_finished_spans()) == 1

    @pytest.mark.component
    def test_opentelemetry_instrument(self, tmp_path: Path) -> None:
        """`opentelemetry-instrument` starts all of ours, which share one trail."""
        launcher = str(Path(sys.executable).with_name("opentelemetry-instrument"))
        exporters = [f"OTEL_{signal}_EXPORTER" for signal in ("TRACES", "METRICS", "LOGS")]
        ended = subprocess.run(
            [launcher, sys.executable, "-c", _APP],
            env={**os.environ, "MEM0_TELEMETRY": "False", **dict.fromkeys(exporters, "none")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        said = ended.stdout.splitlines()
        assert {"axon True", "langgraph True", "mem0 True"} <= set(said)
        assert said[-1] == "[('default', 'langgraph')]"


#: Says which of our integrations run, and what is recorded of an operation.
_APP = """
from importlib.metadata import entry_points
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from axon_audit_otel.trail.audit_logger import loggers

for point in entry_points(group="axon_audit.integrations"):
    print(point.name, point.load()().is_instrumented_by_opentelemetry)
graph = StateGraph(dict).add_node("n", lambda state: {}).add_edge(START, "n")
graph.compile(store=InMemoryStore()).store.put(("memories",), "k1", {})
print([(name, audit.query_events()[0].system) for name, audit in loggers().items()])
"""
