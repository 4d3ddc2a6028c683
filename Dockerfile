# The pipe: one static binary in an otherwise empty image.
#
# The image brings no /etc/ssl: the roots that the pipe trusts are compiled into the binary (CA_CERTIFICATE adds to them).
# The builder is an argument, so that the image can be made where no registry is reachable: test/container/builder_image.sh.
ARG BUILDER_IMAGE=docker.io/library/rust:1.95-slim-bookworm

# hadolint ignore=DL3006
FROM ${BUILDER_IMAGE} AS builder
ARG TARGET=x86_64-unknown-linux-gnu
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
RUN cargo build --config .cargo/static.toml --target "$TARGET" --release --locked --bin fastapi-handoff \
 && cp "target/$TARGET/release/fastapi-handoff" /fastapi-handoff

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="fastapi-handoff" \
      org.opencontainers.image.description="Bitbucket Pipelines pipe: hands a deployment over to a FastAPI service" \
      org.opencontainers.image.source="https://bitbucket.org/fastapi-handoff/fastapi-handoff" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=builder /fastapi-handoff /fastapi-handoff
COPY pipe.yml README.md LICENSE /
# No USER: Pipelines makes the storage directories for root, and another user could not write its key there.
ENTRYPOINT ["/fastapi-handoff"]
