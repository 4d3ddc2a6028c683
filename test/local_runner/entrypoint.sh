#!/bin/sh
# With arguments, Docker's engine, as the runner's `docker` service; without any, the pause container, whose network the others share.
set -eu
[ "$#" -gt 0 ] || exec sleep infinity
# The engine makes control groups and sets kernel parameters, which a container that is not privileged may read only.
for group in /sys/fs/cgroup/*/; do
    mount -o remount,bind,rw "$group"
done
mount -o remount,rw /proc/sys
exec dockerd --host=unix:///var/run/docker.sock --host=tcp://127.0.0.1:2375 "$@"
