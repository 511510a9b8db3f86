# The collector of builder.yaml, on nothing. Needs the Go module proxy while it is built.
FROM golang:1.26-bookworm AS build
WORKDIR /build
COPY builder.yaml .
RUN version="$(sed -n 's/^  version: //p' builder.yaml)" \
    && go run "go.opentelemetry.io/collector/cmd/builder@v$version" --config builder.yaml
RUN mkdir data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /build/axon-otelcol/axon-otelcol /axon-otelcol
COPY --from=build --chown=nonroot /build/data /var/lib/axon-otelcol
ENTRYPOINT ["/axon-otelcol"]
