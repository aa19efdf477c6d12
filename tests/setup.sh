#!/bin/sh
# Installs what the demo and the tests need and this machine lacks: rsync, ssh and sshd, git. The benchmarks name
# more: lsyncd, inotifywait, python3; so does the test of the Debian package.
set -eu

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/usr/bin/$1" ]; }

missing=""
for program in rsync ssh sshd ssh-keygen git "$@"; do
    has "$program" || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! has sudo; then
        echo "setup: missing:$missing. Install them, or install sudo so that this script can." >&2
        exit 1
    fi
    as_root="sudo"
fi

more=""
for program in "$@"; do
    case "$program" in
        dpkg-gencontrol) more="$more dpkg-dev" ;;
        systemd-*) has "$program" || more="$more systemd-standalone-${program#systemd-}" ;;
        inotifywait) more="$more inotify-tools" ;;
        chromedriver) has apt-get && more="$more chromium-driver" || more="$more chromium-chromedriver" ;;
        *) more="$more $program" ;;
    esac
done

echo "setup: missing:$missing; installing rsync, openssh, git$more with the system's package manager"
if has apt-get; then
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y rsync openssh-client openssh-server git $more
elif has dnf; then
    $as_root dnf install -y rsync openssh-clients openssh-server git $more
elif has apk; then
    $as_root apk add rsync openssh git $more
elif has pacman; then
    $as_root pacman -Sy --noconfirm --needed rsync openssh git $more
elif has zypper; then
    $as_root zypper --non-interactive install rsync openssh git $more
else
    echo "setup: no package manager that this script knows (apt, dnf, apk, pacman, zypper)" >&2
    exit 1
fi
