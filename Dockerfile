# A static binary on nothing else: no shell, no package manager, not root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/twinfleet ./cmd/twinfleet
# A volume begins with the owner of the folder that it is mounted on.
RUN mkdir -p /out/runs /out/hub

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/twinfleet /twinfleet
COPY --from=build /src/configs /configs
COPY --from=build --chown=65532:65532 /out/runs /runs
COPY --from=build --chown=65532:65532 /out/hub /hub
USER 65532:65532
EXPOSE 8883 9464 9465 9466
ENTRYPOINT ["/twinfleet"]
CMD ["run", "/configs/scenarios/connectivity.yaml", "--out", "/runs", "--metrics-addr", "0.0.0.0:9464", "--ui-addr", "0.0.0.0:9466"]
