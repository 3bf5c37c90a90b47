# A static binary on nothing else: no shell, no package manager, not root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/twinfleet ./cmd/twinfleet
RUN mkdir -p /out/runs

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/twinfleet /twinfleet
COPY --from=build /src/configs /configs
COPY --from=build --chown=65532:65532 /out/runs /runs
USER 65532:65532
EXPOSE 9464 8883
ENTRYPOINT ["/twinfleet"]
CMD ["run", "/configs/scenarios/connectivity.yaml", "--metrics-addr", "0.0.0.0:9464"]
