"""Listens on many ports at once, TCP and UDP, IPv4 and IPv6; answers, and logs who called.

usage: serve.py NAME TCP-PORTS UDP-PORTS     (comma-separated; "-" for none)

TCP: an HTTP request gets NAME and the port, anything else is echoed. UDP: echoed, from the address
that was asked. One line a call on stdout: `tcp 443 10.20.0.11` or `udp 53 10.20.0.11 <hex>`.
"""
import socket
import sys
import threading

LOCK = threading.Lock()


def log(*words):
    with LOCK:
        print(*words, flush=True)


def plain(address):
    return address.removeprefix("::ffff:")


def answer(name, port, connection):
    with connection:
        connection.settimeout(10)
        try:
            while data := connection.recv(65536):
                log("data", "tcp", port, data[:64].hex())
                if data.startswith((b"GET ", b"HEAD ")):
                    body = f"{name} port {port}\n".encode()
                    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    connection.sendall(head + (body if data.startswith(b"GET") else b""))
                    return
                connection.sendall(data)
        except OSError:
            pass


def listen(kind, port):
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    return sock


def tcp(name, port, sock):
    while True:
        connection, peer = sock.accept()
        log("tcp", port, plain(peer[0]))
        threading.Thread(target=answer, args=(name, port, connection), daemon=True).start()


def udp(port, sock):
    while True:
        data, control, _, peer = sock.recvmsg(65536, 256)
        log("udp", port, plain(peer[0]), data[:64].hex())
        # Without it the answer would leave from the address of the interface.
        info = [item for item in control if item[1] == socket.IPV6_PKTINFO]
        info = [(level, kind, value[:16] + bytes(4)) for level, kind, value in info]
        try:
            sock.sendmsg([data], info, 0, peer)
        except OSError as error:
            log("udp", port, "no answer", error)


def main():
    name, tcp_ports, udp_ports = sys.argv[1:]
    threads = []
    for port in [int(port) for port in tcp_ports.split(",") if port != "-"]:
        sock = listen(socket.SOCK_STREAM, port)
        sock.listen(128)
        threads.append(threading.Thread(target=tcp, args=(name, port, sock), daemon=True))
    for port in [int(port) for port in udp_ports.split(",") if port != "-"]:
        sock = listen(socket.SOCK_DGRAM, port)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        threads.append(threading.Thread(target=udp, args=(port, sock), daemon=True))
    for thread in threads:
        thread.start()
    log("ready")
    for thread in threads:
        thread.join()


main()
