#!/usr/bin/env bash
# Makes the one image that `pipeline-runner` needs here, and prints its name: Debian with Docker's engine and client. The runner's step
# runs in it, its `docker` service is it, and so is its pause container. None of its own images is pulled.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/container/debian.sh
. test/container/debian.sh

suite=$(debian_suite)
# Of a registry that is not there: where the runner tries to pull it, nobody else's image can answer to the name.
image="localhost/fastapi-handoff-local-runner:$suite-$(sha256sum test/local_runner/entrypoint.sh | cut -c1-16)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_image() {
    local from
    from=$(debian_mirror "$suite")
    debootstrap --variant=minbase --include=docker.io,iptables "$suite" "$work/root" "$from"
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    install test/local_runner/entrypoint.sh "$work/root/entrypoint"
    tar -C "$work/root" --numeric-owner -cf - . | docker import --change 'ENTRYPOINT ["/entrypoint"]' - "$image"
}

docker image inspect "$image" >/dev/null 2>&1 || make_image >&2
echo "$image"
