#!/bin/sh
# The Debian package in a copy of this system that is thrown away: installed, started by its unit's command line, upgraded,
# removed, purged. What systemd itself would start and stop is started and stopped here. The program in it is the one that the
# other tests have built.
set -eu
cd "$(dirname "$0")/../.."

if [ "${1:-}" != inside ]; then
    dpkg --status dpkg >/dev/null 2>&1 || { echo "The package is not tested: dpkg does not manage this system"; exit; }
    unshare --mount true 2>/dev/null || { echo "The package is not tested: only root may have a mount namespace"; exit; }
    tests/setup.sh dpkg-gencontrol systemd-sysusers systemd-tmpfiles
    place=$(mktemp -d "${TMPDIR:-/tmp}/mirrorball-package-XXXXXX")
    trap 'rm -rf "$place"' EXIT
    for revision in 1 2; do
        # Compressing a program that is not optimised would take longer than all else.
        PROFILE=dev REVISION=$revision DPKG_DEB_COMPRESSOR_TYPE=none contrib/debian/build
        mv target/debian/mirrorball_*-${revision}_*.deb "$place/"
    done
    unshare --mount --pid --fork --kill-child tests/system/package.sh inside "$place"
    exit
fi

# The changes lie in memory: on the disk they would lie in the system that they change.
packages=$2
place=$packages/copy
mkdir "$place"
mount -t tmpfs tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root" || {
    echo "The package is not tested: this system can't be laid over itself"
    exit 0
}
mount -t proc proc "$place/root/proc"
mount --rbind /dev "$place/root/dev"
mkdir -p "$place/root/run" "$place/root/package"
mount -t tmpfs tmpfs "$place/root/run"
cp "$packages"/*.deb "$place/root/package/"
cat > "$place/root/package/script" <<'SCRIPT'
set -eu
say() { echo "package: $*"; }
fail() { echo "package: FAILED: $*" >&2; exit 1; }
deb() { ls /package/mirrorball_*-"$1"_*.deb; }
unit=/usr/lib/systemd/system/mirrorball.service

# As the unit starts it: its command, user and capabilities, and the directories that systemd makes for it.
start() {
    install -d -o mirrorball -g mirrorball -m 0755 /run/mirrorball
    command=$(sed -n 's/^ExecStart=//p' $unit)
    setpriv --reuid mirrorball --regid mirrorball --init-groups --inh-caps -all,+dac_read_search \
        --ambient-caps -all,+dac_read_search --bounding-set -all,+dac_read_search --no-new-privs \
        $command >> /package/log 2>&1 &
    daemon=$!
    tries=0
    until mirrorball status >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { cat /package/log; fail "the daemon does not answer"; }
        sleep 0.1
    done
}
stop() { mirrorball stop && wait $daemon; }
walks() { mirrorball status --json | grep -o "\"walks\": *[0-9]*" | grep -o "[0-9]*$"; }

dpkg --install "$(deb 1)" > /package/dpkg.log 2>&1 || { cat /package/dpkg.log; fail "it can't be installed"; }
mirrorball --version
id mirrorball
for file in $unit /usr/lib/sysctl.d/60-mirrorball.conf /usr/share/man/man1/mirrorball-status.1.gz \
    /usr/share/man/man5/mirrorball.ron.5.gz /usr/share/bash-completion/completions/mirrorball \
    /usr/share/zsh/vendor-completions/_mirrorball /usr/share/fish/vendor_completions.d/mirrorball.fish; do
    [ -f "$file" ] || fail "$file is missing"
done
[ "$(stat -c %a:%U:%G /etc/mirrorball)" = 750:root:mirrorball ] || fail "others may read /etc/mirrorball"
[ "$(stat -c %a:%U /var/lib/mirrorball)" = 700:mirrorball ] || fail "others may read /var/lib/mirrorball"
# Before 253 it does not know notify-reload.
if command -v systemd-analyze >/dev/null; then
    ! systemd-analyze verify $unit 2>&1 | grep mirrorball | grep -v notify-reload || fail "systemd finds fault with the unit"
fi
[ -L /etc/systemd/system/multi-user.target.wants/mirrorball.service ] || fail "it is not enabled"
say installed

mkdir -p /srv/tree /srv/mirrors && chown mirrorball /srv/mirrors
echo one > /srv/tree/file && chown root /srv/tree/file && chmod 600 /srv/tree/file
cat > /etc/mirrorball/mirrorball.ron <<CONFIG
Config(
    hosts: { "disk": Local(rsync: Rsync(owner: false, group: false)) },
    roots: { "tree": Root(source: "/srv/tree", mirrors: [(host: "disk", path: "/srv/mirrors/tree")]) },
)
CONFIG
mirrorball check
start
mirrorball flush --timeout 30s
cmp /srv/tree/file /srv/mirrors/tree/file || fail "it is not mirrored"
[ "$(stat -c %U /srv/mirrors/tree/file)" = mirrorball ] || fail "it does not run as its own user"
say started
stop

dpkg --install "$(deb 2)" > /package/dpkg.log 2>&1 || { cat /package/dpkg.log; fail "it can't be upgraded"; }
[ -f /etc/mirrorball/mirrorball.ron ] || fail "the configuration is gone"
echo two > /srv/tree/other
start
mirrorball flush --timeout 30s
cmp /srv/tree/other /srv/mirrors/tree/other || fail "it is not mirrored after the upgrade"
[ "$(walks)" = 0 ] || fail "the upgrade has made it compare everything"
say upgraded
stop

dpkg --remove mirrorball > /package/dpkg.log 2>&1 || { cat /package/dpkg.log; fail "it can't be removed"; }
[ ! -e $unit ] && [ ! -e /usr/bin/mirrorball ] || fail "something stays"
[ -f /etc/mirrorball/mirrorball.ron ] && [ -d /var/lib/mirrorball ] || fail "removing is not purging"
say removed
dpkg --purge mirrorball > /package/dpkg.log 2>&1 || { cat /package/dpkg.log; fail "it can't be purged"; }
[ ! -e /var/lib/mirrorball ] || fail "its state stays"
[ ! -e /etc/systemd/system/multi-user.target.wants/mirrorball.service ] || fail "it is still enabled"
[ -f /srv/mirrors/tree/file ] || fail "a mirror is gone"
say purged
SCRIPT
chroot "$place/root" sh /package/script
