#!/usr/bin/env bash
# For the scripts that make images by debootstrap; they source it.

# Prints the mirror that apt uses here for a suite, so that none is written down in this repository.
debian_mirror() {
    listed_mirror "$1" || { apt-get update >&2 && listed_mirror "$1"; } || {
        echo "apt knows no mirror of \`$1\` with the component \`main\`" >&2
        return 1
    }
}

# shellcheck disable=SC2016 # apt-get replaces these words, not the shell
listed_mirror() {
    apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$1" '$1 == suite && $2 == "main" && !found { print $3; found = 1 } END { exit !found }'
}

# Prints the name of this machine's Debian.
debian_suite() {
    sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}
