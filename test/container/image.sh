#!/usr/bin/env bash
# Builds the pipe's image from this checkout, unless one was built from the same sources before, and prints its name.
# BUILDER_IMAGE chooses the builder; without it, the Dockerfile's own where a registry can be reached, else one made here.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
inputs=$(find Dockerfile .dockerignore .cargo Cargo.toml Cargo.lock src pipe.yml README.md LICENSE -type f | LC_ALL=C sort)
hash=$(echo "$inputs" | xargs -d '\n' sha256sum | sha256sum | cut -c1-16)
image="fastapi-handoff:$hash"

builder() {
    if [ -n "${BUILDER_IMAGE:-}" ]; then
        echo "$BUILDER_IMAGE"
        return
    fi
    local usual
    usual=$(sed -n 's/^ARG BUILDER_IMAGE=//p' Dockerfile)
    if docker image inspect "$usual" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$usual" >/dev/null 2>&1; then
        echo "$usual"
    else
        test/container/builder_image.sh
    fi
}

if ! docker image inspect "$image" >/dev/null 2>&1; then
    builder_image=$(builder)
    echo "building $image from $builder_image" >&2
    docker build --build-arg BUILDER_IMAGE="$builder_image" --build-arg VERSION="$version" --tag "$image" . >&2
fi
docker tag "$image" fastapi-handoff:latest
echo "$image"
