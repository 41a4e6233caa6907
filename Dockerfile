# The image has one static binary and the public certificate authorities. It runs as an unprivileged
# user (65532) and writes no files, so start it with a read-only root file system. Mount the folder of
# config.yaml at /etc/s3redirect: a file that is mounted alone never changes in the container. Set
# listen to ":8080" and admin_listen to ":9090", on all addresses. See docs/deployment/docker.md.
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
