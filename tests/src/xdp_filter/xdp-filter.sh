#!/usr/bin/env bash
# xdp-filter's verbs, done by enforcer, so that xdp-filter's own tests can be asked about it.
#
#   load [-p allow|deny] IF     a daemon on IF; a group of everything on it, default pass or drop
#   ip [-m dst] [-r] A          to A: a rule of that group, denied or allowed
#   ip -m src [-r] A            from A: a group of its own, default drop or pass
#   port [-r] N                 a rule for tcp/N and udp/N, to any
#   unload IF                   the daemon ends; detach
#
# With the policy `allow` an entry is what is dropped, with `deny` what passes. Features (-f) choose among
# xdp-filter's programs; enforcer has one. What has no counterpart ends with 2: destination MACs
# (ether), source ports, one transport of two, status.
#
# ENFORCER_BIN is the binary; ENFORCER_SHIM an empty directory; ENFORCER_SHIM_PINS one in bpffs.
set -euo pipefail

dir=$ENFORCER_SHIM

refuse() {
    echo "no counterpart: $*" >&2
    exit 2
}

# The policy file from the lines of `state` (interface and default) and `entries`.
write_policy() {
    local interface default other kind what
    read -r interface default <"$dir/state"
    if [[ $default == drop ]]; then other=pass rules=allow; else other=drop rules=deny; fi
    {
        printf 'schema = 1\n[groups.all]\nmembers = ["interface:%s"]\n' "$interface"
        printf 'default = "%s"\n%s = [\n' "$default" "$rules"
        while read -r kind what; do
            case $kind in
            dst) printf '  { to = "%s" },\n' "$what" ;;
            port) printf '  { to = "any", service = ["tcp/%s", "udp/%s"] },\n' "$what" "$what" ;;
            esac
        done <"$dir/entries"
        printf ']\n'
        if grep -q '^src ' "$dir/entries"; then
            printf '[groups.from]\ndefault = "%s"\nmembers = [\n' "$other"
            sed -n 's/^src \(.*\)$/  "\1",/p' "$dir/entries"
            printf ']\n'
        fi
    } >"$dir/policy.toml"
}

load() {
    local default=pass interface=''
    while (($#)); do
        case $1 in
        -p | --policy)
            [[ $2 == deny ]] && default=drop
            shift
            ;;
        -f | --features) shift ;;
        -v) ;;
        -*) refuse "load $1" ;;
        *) interface=$1 ;;
        esac
        shift
    done
    echo "$interface $default" >"$dir/state"
    : >"$dir/entries"
    write_policy
    cat >"$dir/enforcer.toml" <<EOF
interfaces = ["$interface"]
policy = "$dir/policy.toml"
socket = "$dir/enforcer.sock"
state_dir = "$dir/state.d"
bpffs = "$ENFORCER_SHIM_PINS"
EOF
    "$ENFORCER_BIN" run --config "$dir/enforcer.toml" >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    for _ in {1..100}; do
        grep -q 'enforcing revision' "$dir/log" && return
        sleep 0.1
    done
    cat "$dir/log" >&2
    exit 1
}

unload() {
    [[ -f $dir/pid ]] || return 0
    local pid
    pid=$(<"$dir/pid")
    kill "$pid"
    # Not a child of this shell, and nobody may have waited for it: what has ended has no binary.
    while [[ -e /proc/$pid/exe ]]; do sleep 0.1; done
    rm "$dir/pid"
    "$ENFORCER_BIN" detach --config "$dir/enforcer.toml"
}

# Adds or removes `KIND WHAT`, then applies.
change() {
    local kind=$1 remove='' what=''
    shift
    while (($#)); do
        case $1 in
        -r) remove=1 ;;
        -v) ;;
        -m)
            [[ $kind == dst && ($2 == src || $2 == dst) ]] || refuse "$kind -m $2"
            kind=$2
            shift
            ;;
        -*) refuse "$1" ;;
        *) what=$1 ;;
        esac
        shift
    done
    if [[ $remove ]]; then
        sed -i "\\|^$kind $what\$|d" "$dir/entries"
    else
        echo "$kind $what" >>"$dir/entries"
    fi
    write_policy
    "$ENFORCER_BIN" --socket "$dir/enforcer.sock" apply "$dir/policy.toml"
}

verb=$1
shift
case $verb in
load) load "$@" ;;
unload) unload ;;
ip) change dst "$@" ;;
port) change port "$@" ;;
*) refuse "$verb" ;;
esac
