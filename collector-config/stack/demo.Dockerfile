# The demo, as a user's program would run.
FROM python:3.13-slim-bookworm
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY axon_audit_otel axon_audit_otel
RUN pip install --no-cache-dir ".[axon]" && useradd --create-home axon && install -d -o axon /data
USER axon
WORKDIR /data
ENTRYPOINT ["axon-audit"]
