#!/usr/bin/env bash
# Makes the Dockerfile's BUILDER_IMAGE on a machine that reaches Debian's packages and crates.io but no image registry, and
# prints its name. Two layers, each kept by name: a base of Debian (by debootstrap), a C compiler and this machine's own Rust
# toolchain; and on it the crates of Cargo.lock, so that the build inside needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/container/debian.sh
. test/container/debian.sh

rust_version=$(rustc --version | cut -d' ' -f2)
suite=$(debian_suite)
base="fastapi-handoff-builder-base:$rust_version-$suite"
lock_hash=$(sha256sum Cargo.lock | cut -c1-16)
image="fastapi-handoff-builder:$rust_version-$suite-$lock_hash"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

exists() {
    docker image inspect "$1" >/dev/null 2>&1
}

make_base() {
    local from
    from=$(debian_mirror "$suite")
    debootstrap --variant=minbase --include=gcc,libc6-dev "$suite" "$work/root" "$from"
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    # The toolchain without its documentation, which is more than half of it.
    mkdir "$work/root/opt/rust"
    tar -C "$(rustc --print sysroot)" -cf - bin lib | tar -C "$work/root/opt/rust" -xf -
    tar -C "$work/root" --numeric-owner -cf - . |
        docker import --change 'ENV PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$base"
}

add_crates() {
    mkdir "$work/context"
    cargo vendor --quiet --locked --versioned-dirs "$work/context/crates" >/dev/null
    cat >"$work/context/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/opt/crates"
[net]
offline = true
CONFIG
    cat >"$work/context/Dockerfile" <<DOCKERFILE
FROM $base
ENV CARGO_HOME=/opt/cargo
COPY crates /opt/crates
COPY config.toml /opt/cargo/config.toml
DOCKERFILE
    docker build --quiet --tag "$image" "$work/context"
}

{
    exists "$base" || make_base
    exists "$image" || add_crates
} >&2
echo "$image"
