#!/usr/bin/env bash
# Runs a command in a fresh clone on a bare Debian, as a plain user:
#
#   sudo tools/bare.sh SUITE COMMAND [PACKAGE...]      e.g.  sudo tools/bare.sh trixie 'make sim'
#
# The Debian holds what README.md names in its first line of apt-get, and the PACKAGEs. It is made
# once for each suite (debootstrap, about two minutes, 1 GB) in $BARE (default
# /var/tmp/falconet-bare) and copied for each run. The clone is of the last commit.
# KEEP=1 goes on where the last run of that suite ended, with its environment, at the last commit.
# The exit code is the command's; 69 if there can be no bare Debian here.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,10s/^# \?//p' "$0" >&2; exit 64; }
suite=$1 command=$2
more=("${@:3}")
project=$(realpath "$(dirname "$0")/..")
home=${BARE:-/var/tmp/falconet-bare}
read -ra packages < <(sed -n 's/^sudo apt-get install //p' "$project/README.md" || true)

say() { echo "bare: $*" >&2; }
unable() { say "$*"; exit 69; }

[ "$(id -u)" -eq 0 ] || unable "making a Debian needs root: sudo tools/bare.sh $suite '$command'"
[ ${#packages[@]} -gt 0 ] || unable "README.md names no packages"
command -v unshare >/dev/null || unable "unshare (package util-linux) is missing"
command -v debootstrap >/dev/null \
    || { apt-get update -qq && apt-get install -y -qq debootstrap; } >/dev/null 2>&1 \
    || unable "debootstrap is missing: apt-get install debootstrap"

# In a mount and process namespace of its own, everything ends with the script.
if [ -z "${BARE_INSIDE:-}" ]; then
    unshare --mount --pid --fork true 2>/dev/null || unable "namespaces cannot be made here"
    mkdir -p "$home"
    exec 9>"$home/$suite.lock"
    flock 9
    BARE_INSIDE=1 exec unshare --mount --pid --fork --kill-child bash "$0" "$@"
fi

base=$home/$suite-$(printf '%s\n' "$suite" "${packages[@]}" | sha256sum | cut -c1-8) root=$home/$suite
log=$home/$suite.log

in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    DEBIAN_FRONTEND=noninteractive "$@"; }

connect() {
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
}

disconnect() { umount -l -R "$root"; }

# As this machine reaches its packages: apt's settings, pip's, certificates.
borrow() {
    local file
    for file in /etc/apt/apt.conf.d/99* /etc/pip.conf /etc/xdg/pip/* ~/.config/pip/pip.conf; do
        [ ! -f "$file" ] || install -D -m 644 "$file" "$root${file/#$HOME//home/user}"
    done
    if [ -f /etc/ssl/certs/ca-certificates.crt ] && [ -d "$root/etc/ssl/certs" ]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    fi
}

# Folders that pip's settings name are there too, read-only.
borrow_folders() {
    local path
    for path in $( { pip config list; env | grep '^PIP_'; } 2>/dev/null | tr "=' \\\\" '\n' | sed 's,^file://,,' ); do
        case $path in /*) [ -d "$path" ] || continue ;; *) continue ;; esac
        case $path in */simple) path=${path%/simple} ;; esac
        mkdir -p "$root$path"
        mount --bind -o ro "$path" "$root$path"
    done
}

if [ ! -e "$base/.made" ]; then
    say "making Debian $suite with ${packages[*]} (once; about two minutes)"
    began=$SECONDS
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
    rm -rf --one-file-system "$root" "$base"
    debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$log" 2>&1 \
        || { tail -5 "$log" >&2; unable "debootstrap failed; all it said is in $log"; }
    in_root useradd --create-home user
    borrow
    connect
    { in_root apt-get update -qq && in_root apt-get install -y -qq --no-install-recommends \
        ca-certificates "${packages[@]}"; } >>"$log" 2>&1 \
        || { tail -5 "$log" >&2; unable "apt-get failed; all it said is in $log"; }
    in_root apt-get clean
    disconnect
    touch "$root/.made"
    mv "$root" "$base"
    say "made in $((SECONDS - began)) s, $(du -sh "$base" | cut -f1)"
fi

clone=$root/home/user/falconet
if [ -z "${KEEP:-}" ] || [ ! -d "$clone" ]; then
    rm -rf --one-file-system "$root"
    cp -a --reflink=auto "$base" "$root"
    git clone -q --no-hardlinks "$project" "$clone"
else
    git -c safe.directory='*' -C "$clone" fetch -q "$project" HEAD
    git -c safe.directory='*' -C "$clone" reset -q --hard FETCH_HEAD
fi
borrow
chown -R --reference="$root/home/user" "$root/home/user"
connect
borrow_folders
if [ ${#more[@]} -gt 0 ]; then
    { in_root apt-get update -qq && in_root apt-get install -y -qq --no-install-recommends "${more[@]}"
    } >>"$log" 2>&1 || { tail -5 "$log" >&2; unable "apt-get failed; all it said is in $log"; }
fi

# What pip, git and OpenBLAS need to be told on this machine, and what a run may be told.
mapfile -t told < <(env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_|GIT_SSL_|OPENBLAS_|https?_proxy=|no_proxy=|CI=|TERM=)')
say "$suite, $(in_root python3 --version), commit $(git -C "$project" rev-parse --short HEAD): $command"
began=$SECONDS code=0
chroot --userspec=user:user "$root" /usr/bin/env -i HOME=/home/user USER=user LANG=C.UTF-8 \
    PATH=/usr/local/bin:/usr/bin:/bin "${told[@]}" \
    bash -c 'cd ~/falconet && eval "$1"' bash "$command" </dev/null || code=$?
say "'$command' ended with $code after $((SECONDS - began)) s"
exit "$code"
