#!/usr/bin/env bash
# Makes the Dockerfile's BUILDER_IMAGE on a machine that reaches Debian's packages but no image registry: Debian's base system
# and a C compiler by debootstrap, and this machine's own Rust toolchain. Prints the image's name; does nothing where it exists.
set -euo pipefail

rust_version=$(rustc --version | cut -d' ' -f2)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
image="fastapi-handoff-builder:$rust_version-$suite"

if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image"
    exit 0
fi

# The mirror is the one that apt uses here, so that none is written down in this repository.
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
if [ -z "$mirror" ]; then
    echo "apt knows no mirror for \`$suite\`, expected one line with component \`main\`: run \`apt-get update\` first" >&2
    exit 1
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
echo "making $image by debootstrap" >&2
debootstrap --variant=minbase --include=gcc,libc6-dev "$suite" "$root" "$mirror" >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

# The toolchain without its documentation, which is more than half of it.
mkdir "$root/opt/rust"
tar -C "$(rustc --print sysroot)" -cf - bin lib | tar -C "$root/opt/rust" -xf -

tar -C "$root" --numeric-owner -cf - . |
    docker import --change 'ENV PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$image" >&2
echo "$image"
