# What happens to NICs: sourced by the guest's init, one function a command.
#
# /nics has a line for each protected NIC: its number, its name, its MAC address. An event says for each NIC, on one line,
# `NAME did`, `NAME refused: WHY` (the driver takes the order in general, not now) or `NAME skipped: WHY`.

# Names an interface that has just come after its MAC address; VLAN devices have the same one.
named() { # MAC NAME
    for dir in /sys/class/net/*; do
        [ -e "$dir/device" ] || continue
        [ "$(cat "$dir/address")" = "$1" ] || continue
        [ "${dir##*/}" = "$2" ] && return 0
        ip link set "${dir##*/}" down
        ip link set "${dir##*/}" name "$2"
        return
    done
    return 1
}

configured() { # NUMBER NAME
    ip -batch - << END
address add 10.$1.0.1/24 dev $2
link add link $2 name q20.$1 type vlan id 20
link add link $2 name q30.$1 type vlan id 30
link add link q20.$1 name qq30.$1 type vlan id 30
link add link $2 name ad20.$1 type vlan proto 802.1ad id 20
link add link ad20.$1 name in30.$1 type vlan id 30
END
    up "$1" "$2"
}

up() { # NUMBER NAME
    for link in "$2" "q20.$1" "q30.$1" "qq30.$1" "ad20.$1" "in30.$1"; do
        echo "link set $link up"
    done | ip -force -batch -
}

# Whatever is routed leaves by `wan`, to a neighbour that need not answer.
set_up() {
    for key in all default; do
        echo 1 > "/proc/sys/net/ipv6/conf/$key/disable_ipv6"
    done
    echo 1 > /proc/sys/net/ipv4/ip_forward
    named "$WAN_MAC" wan || { echo "no wan"; return 1; }
    ip address add 203.0.113.2/24 dev wan
    ip link set wan up
    ip neighbour replace 203.0.113.1 lladdr 02:00:00:03:00:01 nud permanent dev wan
    ip route add 198.51.100.0/24 via 203.0.113.1
    while read -r number name mac; do
        named "$mac" "$name" || { echo "no $name"; return 1; }
        configured "$number" "$name"
    done < /nics
    uname -r
}

driver() { # NAME
    basename "$(readlink -f "/sys/class/net/$1/device/driver")"
}

drivers() {
    while read -r number name mac; do
        echo "$name $(driver "$name")"
    done < /nics
}

# Until the daemon answers, whatever it says.
start() {
    enforcer run --config /etc/enforcer/enforcer.toml >> /tmp/daemon.log 2>&1 &
    for second in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        enforcer status > /dev/null 2>&1
        [ $? -lt 2 ] && return 0
        kill -0 $! 2> /dev/null || break
        sleep 1
    done
    tail -n 20 /tmp/daemon.log
    return 1
}

# Frames that each NIC has received.
received() {
    while read -r number name mac; do
        read -r count 2> /dev/null < "/sys/class/net/$name/statistics/rx_packets" && echo "rx $name $count"
    done < /nics
}

# The same, and what the daemon says.
look() {
    enforcer status --json 2> /tmp/status.err
    echo "exit $?"
    received
}

# Does it to all NICs at once.
event() { # FUNCTION [WORD]
    while read -r number name mac; do
        ("$1" "$number" "$name" "$mac" "$2" > "/tmp/event.$name" 2>&1 || echo "refused: it failed" >> "/tmp/event.$name") &
    done < /nics
    wait
    while read -r number name mac; do
        echo "$name $(tail -n 1 "/tmp/event.$name")"
    done < /nics
}

# Runs a command that changes a NIC, and says what came of it.
try() {
    if text=$("$@" 2>&1); then
        echo did
    else
        case "$text" in
            *"not supported"* | *"No such"*)
                echo "skipped: $(echo "$text" | head -n 1)" ;;
            *) echo "refused: $(echo "$text" | head -n 1)" ;;
        esac
    fi
}

down_up() {
    ip link set "$2" down
    sleep 0.3
    up "$1" "$2"
    echo did
}

rings() {
    sizes=$(ethtool -g "$2" 2> /dev/null | awk '/^RX:/ { print $2 }')
    set -- "$2" $sizes
    [ $# -ge 3 ] || { echo "skipped: its rings have one size"; return; }
    if [ "$3" -lt "$2" ]; then try ethtool -G "$1" rx "$2"; else try ethtool -G "$1" rx $(($2 / 2)); fi
}

queues() {
    counts=$(ethtool -l "$2" 2> /dev/null | awk '/^Combined:/ { print $2 }')
    set -- "$2" $counts
    [ $# -ge 3 ] && [ "$2" -gt 1 ] || { echo "skipped: it has one queue"; return; }
    if [ "$3" -gt 1 ]; then try ethtool -L "$1" combined 1; else try ethtool -L "$1" combined 2; fi
}

# Switches a feature over and back; one that the driver does not change is skipped.
feature() { # NUMBER NAME MAC FEATURE
    case $(ethtool -k "$2" | awk -v f="$4:" '$1 == f { print $2, $3 }') in
        *"[fixed]"* | "") echo "skipped: the driver does not change it" ;;
        on*) try ethtool -K "$2" "$4" off; try ethtool -K "$2" "$4" on ;;
        off*) try ethtool -K "$2" "$4" on ;;
    esac
}

# Merging of frames by the NIC: drivers have one word for it or the other.
merging() { # NUMBER NAME MAC
    said=$(feature "$1" "$2" "$3" large-receive-offload)
    case $said in skipped*) said=$(feature "$1" "$2" "$3" rx-gro-hw) ;; esac
    echo "$said"
}

mtu() { # NUMBER NAME MAC MTU
    try ip link set "$2" mtu "$4"
    # An MTU may need the link to go down; VLAN devices follow it.
    up "$1" "$2"
}

rebind() {
    case " $HANGS " in *" $2 "*) echo "skipped: unbinding it with a program on it hangs in the kernel"; return ;; esac
    device=$(readlink -f "/sys/class/net/$2/device")
    driver=$(readlink -f "$device/driver")
    echo "${device##*/}" > "$driver/unbind" || return 1
    echo "${device##*/}" > "$driver/bind" || return 1
    for try in 0 1 2 3 4 5 6 7 8 9; do
        named "$3" "$2" && break
        sleep 0.2
    done
    configured "$1" "$2"
    echo did
}

# A first start, at another MTU than the usual one.
again() { # MTU
    enforcer detach > /dev/null 2>&1
    wait
    event mtu "$1"
    enforcer backstop install && start
}

complaints() {
    dmesg | grep -E "WARNING:|BUG:|Call Trace" | sort | uniq -c
}
