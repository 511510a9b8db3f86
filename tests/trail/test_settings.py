"""Settings: the argument, else the environment, else the default; checked once, with messages."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from amounts import slow
from conftest import Make, Run
from opentelemetry._logs import NoOpLogger, NoOpLoggerProvider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    ArchiveError,
    AuditConfigError,
    AuditLogger,
    AxonAuditError,
    AxonInstrumentor,
)
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.trail.settings import Settings

#: Setting, its default, text in the environment and what that means, an argument.
SETTINGS = [
    ("name", "default", "from-env", "from-env", "given"),
    ("max_events", 10_000, " 7 ", 7, 3),
    ("enable_rotation", True, "false", False, True),
    ("redact_pii", True, "No", False, True),
]
GENAI = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def _captured(audit: AuditLogger) -> tuple[bool, bool]:
    content = audit.settings.capture_content
    return content.on_spans, content.on_events


class TestPrecedence:
    @pytest.mark.parametrize(("name", "default", "text", "meant", "given"), SETTINGS)
    def test_argument_then_environment_then_default(
        self,
        make_audit: Make,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        default: Any,
        text: str,
        meant: Any,
        given: Any,
    ) -> None:
        """An argument goes before the variable, and the variable before the default."""
        assert getattr(make_audit().settings, name) == default
        monkeypatch.setenv(f"AXON_AUDIT_{name.upper()}", text)
        assert getattr(make_audit().settings, name) == meant
        assert getattr(make_audit(**{name: given}).settings, name) == given

    def test_archive_directory(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The archive's directory comes from the variable too; an empty one means none."""
        monkeypatch.setenv("AXON_AUDIT_AUTO_EXPORT_PATH", str(tmp_path / "env"))
        assert make_audit().settings.auto_export_path == tmp_path / "env"
        given = make_audit(auto_export_path=str(tmp_path / "given"))
        assert given.settings.auto_export_path == tmp_path / "given"
        monkeypatch.setenv("AXON_AUDIT_AUTO_EXPORT_PATH", "")
        assert make_audit().settings.auto_export_path is None

    def test_home_directory_is_expanded(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A path may begin with ``~``: variables in service files are not seen by a shell."""
        monkeypatch.setenv("HOME", str(tmp_path))
        assert make_audit(auto_export_path="~/logs").settings.auto_export_path == tmp_path / "logs"

    @pytest.mark.parametrize(
        ("value", "on_spans", "on_events"),
        [
            ("true", True, True),
            ("True", True, True),
            ("false", False, False),
            ("SPAN_ONLY", True, False),
            ("span_only", True, False),
            ("EVENT_ONLY", False, True),
            ("SPAN_AND_EVENT", True, True),
            ("NO_CONTENT", False, False),
            ("", False, False),
        ],
    )
    @pytest.mark.parametrize("variable", [GENAI, "AXON_AUDIT_CAPTURE_CONTENT"])
    def test_capture_content_in_both_dialects(
        self,
        make_audit: Make,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        value: str,
        on_spans: bool,
        on_events: bool,
    ) -> None:
        """Both variables understand true/false and the four modes, in any case."""
        monkeypatch.setenv(variable, value)
        assert _captured(make_audit()) == (on_spans, on_events)

    def test_capture_content_precedence(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenTelemetry's variable is the last to be asked; False is an argument like any."""
        assert _captured(make_audit()) == (False, False)
        monkeypatch.setenv(GENAI, "true")
        monkeypatch.setenv("AXON_AUDIT_CAPTURE_CONTENT", "EVENT_ONLY")
        assert _captured(make_audit()) == (False, True)
        assert _captured(make_audit(capture_content=True)) == (True, True)
        assert _captured(make_audit(capture_content=False)) == (False, False)
        assert _captured(make_audit(capture_content="SPAN_ONLY")) == (True, False)


#: Setting, a value that cannot work, what the message must show of it.
BAD = [
    ("max_events", 0, "0"),
    ("max_events", -1, "-1"),
    ("max_events", True, "True"),
    ("max_events", 2.0, "2.0"),
    ("max_events", "x", "'x'"),
    ("max_events", [], "[]"),
    ("name", "", "''"),
    ("name", "two words", "'two words'"),
    ("name", "../escape", "'../escape'"),
    ("name", "x" * 65, "x" * 65),
    ("name", "schlüssel", "'schlüssel'"),
    ("name", 5, "5"),
    ("enable_rotation", "maybe", "'maybe'"),
    ("enable_rotation", 1, "1"),
    ("redact_pii", "", "''"),
    ("redact_pii", None.__class__, "NoneType"),
    ("redact", "upper", "'upper'"),
    ("capture_content", "SOMETIMES", "'SOMETIMES'"),
    ("capture_content", 1, "1"),
    ("auto_export_path", 5, "5"),
    ("auto_export_path", b"logs", "b'logs'"),
    ("signing_key", "/dev/zero", "'/dev/zero' cannot be read: too large"),
    ("pseudonymize", "@/dev/zero", "'/dev/zero' cannot be read: too large"),
]


class TestBadValues:
    @pytest.mark.parametrize(("name", "value", "shown"), BAD)
    def test_argument(self, make_audit: Make, name: str, value: Any, shown: str) -> None:
        """A bad argument is an error that names the argument and shows the value."""
        with pytest.raises(AuditConfigError) as caught:
            make_audit(**{name: value})
        assert f"{name}=" in str(caught.value)
        assert shown in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_events", "0"),
            ("max_events", "-5"),
            ("max_events", "1e3"),
            ("max_events", "many"),
            ("name", "a/b"),
            ("enable_rotation", "2"),
            ("redact_pii", "perhaps"),
            ("capture_content", "SOMETIMES"),
        ],
    )
    def test_variable(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        """A bad variable is an error that names the variable and shows its value."""
        variable = f"AXON_AUDIT_{name.upper()}"
        monkeypatch.setenv(variable, value)
        with pytest.raises(AuditConfigError) as caught:
            make_audit()
        assert f"{variable}=" in str(caught.value)
        assert repr(value) in str(caught.value)

    def test_standard_variable(self, make_audit: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """OpenTelemetry's own variable is named in the message when it is the bad one."""
        monkeypatch.setenv(GENAI, "whatever")
        with pytest.raises(AuditConfigError, match=rf"{GENAI}='whatever'.*SPAN_ONLY"):
            make_audit()

    def test_bad_variable_does_not_matter_under_an_argument(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unused values are not checked: an argument makes a bad variable harmless."""
        monkeypatch.setenv("AXON_AUDIT_MAX_EVENTS", "many")
        assert make_audit(max_events=4).settings.max_events == 4

    def test_kind_of_error(self, make_audit: Make) -> None:
        """The error is a `ValueError` too, for those who do not know ours."""
        with pytest.raises(AxonAuditError) as caught:
            make_audit(max_events=0)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize("path", ["~no-such-user-here/logs", "a\0b"])
    def test_impossible_directory(self, make_audit: Make, path: str) -> None:
        """A directory that no file system can have is an error of ours, which shows it."""
        with pytest.raises((AuditConfigError, ArchiveError)) as caught:
            make_audit(auto_export_path=path)
        assert repr(path)[1:-1] in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("registry", "x"),
            ("registry", CollectorRegistry),
            ("logger_provider", "x"),
            ("logger_provider", ""),
            ("logger_provider", LoggerProvider),
        ],
    )
    def test_where_telemetry_goes(
        self, tmp_path: Path, make_audit: Make, name: str, value: Any
    ) -> None:
        """A value that is no registry or provider is named and shown, before a file is made."""
        with pytest.raises(AuditConfigError) as caught:
            make_audit(auto_export_path=tmp_path / "logs", **{name: value})
        assert f"{name}={value!r}: must be" in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_provider_in_use(self, audit: AuditLogger) -> None:
        """A wrong provider is refused also where it is given later."""
        instrumentor = AxonInstrumentor()
        with pytest.raises(AuditConfigError, match="logger_provider='x': must be"):
            instrumentor.instrument(audit_logger=audit, logger_provider="x")

    @pytest.mark.parametrize("provider", [None, NoOpLoggerProvider(), ProxyLoggerProvider()])
    async def test_any_provider_of_the_api(self, make_audit: Make, provider: Any) -> None:
        """None, and whatever has the methods of the API, are taken."""
        audit = make_audit(logger_provider=provider)
        await audit.log_event("STORE")
        assert audit.event_count == 1

    async def test_provider_by_its_methods(self, make_audit: Make) -> None:
        """A provider need not inherit from the API's."""

        class Own:
            def get_logger(self, name: str, *args: Any, **kwargs: Any) -> Any:
                return NoOpLogger(name)

        audit = make_audit(logger_provider=Own())
        await audit.log_event("STORE")
        assert audit.event_count == 1

    def test_value_without_a_repr(self, make_audit: Make) -> None:
        """A value that cannot even be shown is still an error of ours."""

        class Hostile:
            def __repr__(self) -> str:
                raise RuntimeError("no repr")

        with pytest.raises(AuditConfigError):
            make_audit(max_events=Hostile())


class TestUnknownVariables:
    """``AXON_AUDIT_...`` that is no setting."""

    @pytest.mark.parametrize(
        ("variable", "nearest"),
        [
            ("AXON_AUDIT_MAX_EVNTS", "AXON_AUDIT_MAX_EVENTS"),
            slow("AXON_AUDIT_PSEUDONYMISE", "AXON_AUDIT_PSEUDONYMIZE"),
            slow("AXON_AUDIT_max_events", "AXON_AUDIT_MAX_EVENTS"),
            slow("AXON_AUDIT_EXPORT_PATH", "AXON_AUDIT_AUTO_EXPORT_PATH"),
        ],
    )
    def test_told(self, run_script: Run, variable: str, nearest: str) -> None:
        """It is told once in a process, with the nearest that there is and not with its value."""
        said = run_script(_TWO_LOGGERS, **{variable: "top secret"})
        expected = f"{variable} is not a setting of this version; the nearest is {nearest}"
        assert said.splitlines() == [f"WARNING {expected}"]

    @pytest.mark.slow
    def test_each(self, run_script: Run) -> None:
        """Of several, each is told; where none is near, none is named."""
        said = run_script(_TWO_LOGGERS, AXON_AUDIT_NAMES="a", AXON_AUDIT_QXJ="b").splitlines()
        assert len(said) == 2
        assert said[0].endswith(
            "NAMES is not a setting of this version; the nearest is AXON_AUDIT_NAME"
        )
        assert said[1].endswith("AXON_AUDIT_QXJ is not a setting of this version")

    @pytest.mark.slow
    def test_known_and_foreign(self, run_script: Run, tmp_path: Path) -> None:
        """Nothing is said of those that are known, empty, or of other programs."""
        known = {"AXON_AUDIT_AUTO_EXPORT_PATH": tmp_path, "AXON_AUDIT_MAX_EVENTS": 5}
        others = {"AXON_AUDIT_MAX_EVNTS": "", "AXON_AUDITOR": "x", "AXON_AUDIT_VENV": "x"}
        assert run_script(_TWO_LOGGERS, **known, **others) == ""


_TWO_LOGGERS = """
    import logging, sys
    from axon_audit_otel import AuditLogger
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
    AuditLogger()
    AuditLogger()
"""


def test_frozen(audit: AuditLogger) -> None:
    """Settings cannot be changed once they were checked."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        audit.settings.max_events = 5  # type: ignore[misc]


class TestDescription:
    """Every setting is described once; what a reader sees of it agrees with that."""

    def test_arguments(self) -> None:
        """`AuditLogger` takes every setting that is an argument, and two objects besides."""
        arguments = dict(inspect.signature(AuditLogger).parameters)
        objects = {arguments.pop("logger_provider").name, arguments.pop("registry").name}
        described = {name for name, known in Settings.described().items() if known.argument}
        assert set(arguments) == described
        assert {argument.default for argument in arguments.values()} == {None}
        assert objects.isdisjoint(Settings.described())

    def test_help(self) -> None:
        """`help(AuditLogger)` says of each what it is."""
        text = inspect.getdoc(AuditLogger) or ""
        told = re.findall(
            r"^    (\w+): ", text[text.index("Args:") : text.index("Raises:")], re.MULTILINE
        )
        assert sorted(told) == sorted(inspect.signature(AuditLogger).parameters)

    @pytest.mark.parametrize("name", [n for n, k in Settings.described().items() if k.argument])
    def test_each_is_parsed(self, name: str) -> None:
        """A value that a setting cannot have is refused in the name of its argument."""
        with pytest.raises(AuditConfigError, match=f"^{name}="):
            AuditLogger(**{name: object()})  # type: ignore[arg-type]


def test_nothing_is_left_of_a_logger_that_could_not_be(make_audit: Make) -> None:
    """A refused setting takes no name: the next logger gets the one it asks for."""
    with pytest.raises(AuditConfigError):
        make_audit(name="refused", max_events=0)
    assert make_audit(name="refused").name == "refused"


def test_what_needs_files_and_has_none(
    make_audit: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Whoever asks for what only files can have, and names no directory, is told."""
    make_audit(auto_export_path=tmp_path, durability="disk", retention="hipaa")
    make_audit(durability="process")
    assert caplog.records == []
    make_audit(durability="disk", retention="hipaa")
    (record,) = caplog.records
    assert "retention=, durability= mean nothing" in record.getMessage()
    assert "auto_export_path" in record.getMessage()


class TestSecrets:
    """No secret is in what messages, logs and dumps show."""

    KEY = new_key("auditor").line()
    SEED = KEY.split("+", 4)[4]  # Base64 has that character too

    @pytest.mark.parametrize(
        "template",
        [
            '"{key}"',
            "'{key}'",
            "key={key}",
            "{key:.70}",
            "{renamed}",
            "{spaced}",
            "{seed}",
            "no/{seed}",
        ],
    )
    def test_malformed_signing_key(self, template: str) -> None:
        """Whatever is wrong with it, no part of the key is shown, nor in the chain of causes."""
        value = template.format(
            key=self.KEY,
            seed=self.SEED,
            renamed=self.KEY.replace("auditor", "author"),
            spaced=self.KEY.replace("PRIVATE+KEY", "PRIVATE KEY"),
        )
        with pytest.raises(AuditConfigError) as said:
            AuditLogger(auto_export_path="unused", signing_key=value)
        assert str(said.value).startswith("signing_key=(a secret): ")
        error: BaseException | None = said.value
        while error is not None:
            assert self.SEED[4:12] not in f"{error!r} {error.args}"
            frame = error.__traceback__
            while frame is not None:
                if "axon_audit_otel" in frame.tb_frame.f_code.co_filename:
                    shown = {**frame.tb_frame.f_locals, "self": None}
                    assert self.SEED[4:12] not in repr(shown)
                frame = frame.tb_next
            error = error.__cause__ or error.__context__

    def test_key_elsewhere(self, tmp_path: Path) -> None:
        """A key in the place of another value is not shown either."""
        for name in ("retention", "durability", "max_events", "name"):
            with pytest.raises(AuditConfigError, match=f"^{name}='\\(a secret\\)") as said:
                AuditLogger(**{name: self.KEY})
            assert self.SEED[:8] not in str(said.value)

    @pytest.mark.parametrize(
        "url",
        [
            "http://ada:quetzal@127.0.0.1:x",
            "ftp://ada:quetzal@host",
            "ada:quetzal@host",
            "http://ada:quet/@zal@:4318",
            "https://:4318?api_key=quetzal",
        ],
    )
    def test_url_that_is_none(self, url: str) -> None:
        """Its message shows neither user nor password nor query."""
        with pytest.raises(AuditConfigError, match=r"^ship_to=") as said:
            AuditLogger(ship_to=url)
        assert "que" not in str(said.value)
        assert "zal" not in str(said.value)

    def test_dumps(self, make_audit: Make, tmp_path: Path, monkeypatch: Any) -> None:
        """`repr`, `vars`, `asdict` and `pickle` of settings have none."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=quetzal-1")
        audit = make_audit(
            auto_export_path=tmp_path / "a",
            signing_key=self.KEY,
            pseudonymize="quetzal-2-quetzal",
            ship_to="http://ada:quetzal-3@127.0.0.1:9?key=quetzal-4",
        )
        settings = audit.settings
        assert settings.signing_key is not None
        assert settings.ship_to is not None
        dumped = [settings, vars(settings), dataclasses.asdict(settings), settings.ship_to.place]
        dumped += [vars(settings.pseudonymize), vars(settings.signing_key), audit, vars(audit)]
        for shown in map(repr, dumped):
            assert "quetzal-1" not in shown
            assert "quetzal-2" not in shown
            assert "quetzal-3" not in shown
            assert self.SEED[:8] not in shown
        assert "quetzal-4" not in repr(settings)
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(settings)
