"""Python's HTTP server, IPv4 and IPv6; what is asked for with `?slow` comes at 2 MiB a second.

usage: files.py DIRECTORY PORT
"""
import functools
import http.server
import socket
import sys
import time


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        while data := source.read(65536):
            outputfile.write(data)
            if self.path.endswith("?slow"):
                time.sleep(1 / 32)


directory, port = sys.argv[1:]
server = Server(("::", int(port)), functools.partial(Handler, directory=directory))
print("ready", flush=True)
server.serve_forever()
