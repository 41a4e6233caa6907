# The image holds one static binary and the CA certificates. It runs as nobody in particular and writes nothing: start it
# with a read-only root file system, the configuration mounted at /etc/s3redirect/config.yaml, and
# listen/admin_listen on 0.0.0.0.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=""
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /s3redirect ./cmd/s3redirect

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /s3redirect /s3redirect
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/s3redirect"]
CMD ["serve", "--config", "/etc/s3redirect/config.yaml"]
