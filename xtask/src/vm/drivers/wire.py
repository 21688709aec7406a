"""Both ends of the guest: sends frames to its NICs, and counts what it forwards.

usage: wire.py MARK OUT

Frames come out of OUT, or they do not. The payload of each begins with MARK, the number of its NIC and that of its kind, a
byte each. Commands are lines on stdin; `count` answers with a line of JSON.

  frame TAP SEGMENT HEX   one more frame to send; SEGMENT is 0, or the size for which a large TCP one is to be cut
  send MILLISECONDS       from now on all of them, one round each so many milliseconds
  count                   frames that have come out since the start: {"NIC KIND": number}
"""
import json
import os
import selectors
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_VNET_HDR = 263, 15
OUTGOING = 4
NEEDS_CHECKSUM, TCPV4 = 1, 1
ETH_P_ALL = 3

mark, out = sys.argv[1].encode(), sys.argv[2]
came, frames, senders = {}, [], {}
interval, due, rest = None, 0.0, b""


def opened(interface):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((interface, ETH_P_ALL))
    return sock


def sender(tap):
    """A socket that only sends, with virtio's header in front of each frame."""
    if tap not in senders:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.bind((tap, 0))
        senders[tap] = sock
    return senders[tap]


def add(tap, segment, text):
    frame, segment = bytes.fromhex(text), int(segment)
    header = bytes(10)
    if segment:
        # Untagged Ethernet, IPv4 and TCP without options: the checksum is at 16 in TCP.
        header = struct.pack("=BBHHHH", NEEDS_CHECKSUM, TCPV4, 54, segment, 34, 16)
    frames.append((sender(tap), header + frame))


def send():
    for sock, frame in frames:
        try:
            sock.send(frame)
        except OSError:
            # Its queue is full, or the link is down: a NIC that takes nothing.
            pass


def receive(sock):
    for _ in range(1000):
        try:
            frame, address = sock.recvfrom(65536, socket.MSG_DONTWAIT)
        except OSError:
            # Nothing more, or the word that the interface went down.
            return
        at = frame.find(mark)
        if address[2] != OUTGOING and at >= 0:
            nic, kind = frame[at + len(mark)], frame[at + len(mark) + 1]
            came[(nic, kind)] = came.get((nic, kind), 0) + 1


def obey(line):
    global interval, due
    words = line.split()
    if words[0] == "frame":
        add(*words[1:])
    elif words[0] == "send":
        interval, due = int(words[1]) / 1000, time.monotonic()
    elif words[0] == "count":
        print(json.dumps({f"{nic} {kind}": count for (nic, kind), count in came.items()}), flush=True)


arrivals = opened(out)
arrivals.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
ready = selectors.DefaultSelector()
ready.register(arrivals, selectors.EVENT_READ)
ready.register(sys.stdin, selectors.EVENT_READ)
while True:
    left = None if interval is None else max(0, due - time.monotonic())
    for key, _ in ready.select(left):
        if key.fileobj is arrivals:
            receive(arrivals)
        else:
            text = os.read(0, 1 << 16)
            if not text:
                sys.exit()
            receive(arrivals)
            *lines, rest = (rest + text).split(b"\n")
            for line in lines:
                obey(line.decode())
    if interval is not None and time.monotonic() >= due:
        send()
        # After a pause no more than one round at once.
        due = max(due + interval, time.monotonic())
