"""Sends numbered datagrams until it is killed: 8 digits, every 5 ms, to each port.

usage: stream.py ADDRESS PORT...
"""
import socket
import sys
import time

address, ports = sys.argv[1], [int(port) for port in sys.argv[2:]]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
number = 0
while True:
    for port in ports:
        sock.sendto(b"%08d" % number, (address, port))
    number += 1
    time.sleep(0.005)
