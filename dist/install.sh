#!/bin/sh
# Installs enforcer on a system without dpkg, and takes it away again.
#
#   ./install.sh              install, or upgrade what is installed
#   ./install.sh uninstall    end what is enforced, and remove the program
#   ./install.sh purge        the same, and remove settings, policies, state and the trail
#
# PREFIX (/usr/local) is where the program goes. DESTDIR is put before every path: nothing is started
# or ended then, as for a package or an image.
set -eu

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
here=$(cd "$(dirname "$0")" && pwd)
program=$PREFIX/sbin/enforcer
# What was installed, a path a line.
list=$DESTDIR$PREFIX/share/enforcer/installed

say() { printf 'enforcer: %s\n' "$*"; }
fail() {
    printf 'enforcer: %s\n' "$*" >&2
    exit 1
}
live() { [ -z "$DESTDIR" ]; }
systemd() { live && [ -d /run/systemd/system ]; }

# put MODE FROM TO: in one step, so that what runs is never half a file.
put() {
    mkdir -p "$DESTDIR$(dirname "$3")"
    cp "$2" "$DESTDIR$3.new"
    chmod "$1" "$DESTDIR$3.new"
    mv -f "$DESTDIR$3.new" "$DESTDIR$3"
    printf '%s\n' "$3" >>"$list.new"
}

# keep FROM TO: an operator's file stays; what is new is put beside it.
keep() {
    if [ ! -e "$DESTDIR$2" ]; then
        mkdir -p "$DESTDIR$(dirname "$2")"
        cp "$1" "$DESTDIR$2"
        chmod 644 "$DESTDIR$2"
    elif ! cmp -s "$1" "$DESTDIR$2" && ! cmp -s "$1" "$DESTDIR$2.dist"; then
        cp "$1" "$DESTDIR$2.dist"
        say "$2 is yours and stays; this version's is $2.dist"
    fi
}

# with_prefix FROM: the file with the program's path in it.
with_prefix() {
    sed "s|/usr/sbin/enforcer|$program|g; s|/usr/share/doc|$PREFIX/share/doc|g" "$1"
}

group() {
    if grep -q '^enforcer:' /etc/group; then
        return
    elif command -v groupadd >/dev/null; then
        groupadd --system enforcer
    elif command -v addgroup >/dev/null; then
        addgroup -S enforcer
    else
        say "no way to make the group enforcer: the control socket is root's alone"
    fi
}

running() {
    if systemd; then
        systemctl --quiet is-active enforcer
    else
        live && [ -x /etc/init.d/enforcer ] && /etc/init.d/enforcer status >/dev/null 2>&1
    fi
}

restart() {
    # The kernel enforces meanwhile; the new daemon takes over what is in it.
    if systemd; then systemctl restart enforcer; else /etc/init.d/enforcer restart; fi ||
        say "the new daemon does not start; what was in force stays in force: enforcer status"
}

install_files() {
    root=$here/root
    mkdir -p "$(dirname "$list")"
    : >"$list.new"
    temporary=$(mktemp)
    trap 'rm -f "$temporary"' EXIT
    put 755 "$root/usr/sbin/enforcer" "$program"
    find "$root/usr/share" -type f | while read -r file; do
        put 644 "$file" "$PREFIX/share/${file#"$root/usr/share/"}"
    done
    if [ -d "$DESTDIR/etc/systemd" ] || [ -d "$DESTDIR/usr/lib/systemd" ]; then
        for unit in enforcer.service enforcer-backstop.service; do
            with_prefix "$root/usr/lib/systemd/system/$unit" >"$temporary"
            put 644 "$temporary" "/etc/systemd/system/$unit"
        done
        put 644 "$root/usr/lib/tmpfiles.d/enforcer.conf" /etc/tmpfiles.d/enforcer.conf
    else
        with_prefix "$here/init.d/enforcer" >"$temporary"
        put 755 "$temporary" /etc/init.d/enforcer
    fi
    keep "$root/etc/enforcer/enforcer.toml" /etc/enforcer/enforcer.toml
    if [ -d "$DESTDIR/etc/logrotate.d" ]; then
        put 644 "$root/etc/logrotate.d/enforcer" /etc/logrotate.d/enforcer
    fi
    # What an earlier version had and this one has not.
    if [ -f "$list" ]; then
        while read -r file; do
            grep -qxF "$file" "$list.new" || rm -f "$DESTDIR$file"
        done <"$list"
    fi
    mv -f "$list.new" "$list"
}

install() {
    [ -x "$here/root/usr/sbin/enforcer" ] || fail "run this in the directory that was unpacked"
    if live; then
        [ "$(id -u)" = 0 ] || fail "not root"
        "$here/root/usr/sbin/enforcer" --version >/dev/null || fail "this is for another machine"
        group
    fi
    again=no
    if running; then again=yes; fi
    install_files
    if systemd; then systemctl daemon-reload; fi
    if [ "$again" = yes ]; then
        restart
        say "upgraded; $("$program" --version) runs"
    elif live; then
        say "installed $program. Nothing is enforced yet: run \`enforcer init\`, look at"
        say "/etc/enforcer, and start it: systemctl enable --now enforcer-backstop enforcer,"
        say "or /etc/init.d/enforcer start"
    fi
}

uninstall() {
    [ -f "$list" ] || fail "nothing that this script installed is below $PREFIX"
    if systemd; then
        systemctl disable --now enforcer enforcer-backstop 2>/dev/null || true
    elif running; then
        /etc/init.d/enforcer stop
    fi
    if live; then
        say "removing: NOTHING IS ENFORCED ANY MORE on this machine"
        "$program" detach || "$program" detach --config /dev/null ||
            fail "what the kernel enforces could not be removed: see above"
    fi
    while read -r file; do
        rm -f "$DESTDIR$file"
    done <"$list"
    rm -f "$list"
    for directory in share/doc/enforcer/examples share/doc/enforcer/sbom share/doc/enforcer \
        share/enforcer; do
        rmdir "$DESTDIR$PREFIX/$directory" 2>/dev/null || true
    done
    if systemd; then systemctl daemon-reload; fi
}

case "${1:-install}" in
install) install ;;
uninstall) uninstall ;;
purge)
    uninstall
    rm -rf "$DESTDIR/etc/enforcer" "$DESTDIR/var/lib/enforcer" "$DESTDIR/var/log/enforcer"
    rm -rf "$DESTDIR/run/enforcer" "$DESTDIR/etc/systemd/system/enforcer.service.d"
    if live && grep -q '^enforcer:' /etc/group; then
        if command -v groupdel >/dev/null; then groupdel enforcer; else delgroup enforcer; fi
    fi
    ;;
*) fail "usage: $0 [install | uninstall | purge]" ;;
esac
