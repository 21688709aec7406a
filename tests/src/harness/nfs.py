"""The NFS server that a CMS8000 looks for, as far as a mount goes: it exports /pm.

Registers NFS (2049) and mountd (20048) with the real rpcbind of its namespace (RFC 1833, version 2) and
answers their calls over TCP (RFC 5531, RFC 1813). One line a call on stdout:
`rpc 100003 proc 0 202.114.4.20`.
"""
import socket
import struct
import sys
import threading

NFS, MOUNTD, PORTMAPPER = 100003, 100005, 100000
NULL, MNT, EXPORT = 0, 1, 5
PORTS = {NFS: 2049, MOUNTD: 20048}


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def words(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


def register(program, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # rpcbind takes a registration only from a privileged port of this host.
    sock.bind(("127.0.0.1", 700 + program % 100))
    sock.settimeout(5)
    call = words(1, 0, 2, PORTMAPPER, 2, 1, 0, 0, 0, 0, program, 3, socket.IPPROTO_TCP, port)
    sock.sendto(call, ("127.0.0.1", 111))
    if sock.recv(512)[-4:] != words(1):
        sys.exit(f"rpcbind refused program {program}")
    sock.close()


def results(program, procedure):
    """What follows the accept state, or None where the procedure is unknown."""
    if procedure == NULL:
        return b""
    if program == MOUNTD and procedure == MNT:
        return words(0) + opaque(b"pm-of-the-vendor") + words(1, 1)
    if program == MOUNTD and procedure == EXPORT:
        return words(1) + opaque(b"/pm") + words(0, 0)
    return None


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def serve(connection, peer):
    with connection:
        try:
            while True:
                (mark,) = struct.unpack(">I", exactly(connection, 4))
                call = exactly(connection, mark & 0x7FFFFFFF)
                xid, _, _, program, _, procedure = struct.unpack(">6I", call[:24])
                print("rpc", program, "proc", procedure, peer, flush=True)
                result = results(program, procedure)
                state = words(3) if result is None else words(0) + result
                reply = words(xid, 1, 0, 0, 0) + state
                connection.sendall(words(0x80000000 | len(reply)) + reply)
        except (EOFError, OSError):
            pass


def accept(sock):
    while True:
        connection, peer = sock.accept()
        threading.Thread(target=serve, args=(connection, peer[0]), daemon=True).start()


def main():
    threads = []
    for program, port in PORTS.items():
        sock = socket.create_server(("0.0.0.0", port))
        register(program, port)
        threads.append(threading.Thread(target=accept, args=(sock,), daemon=True))
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


main()
