"""An image archive: takes uploads over HTTP and answers each with the SHA-256 of what arrived.

usage: archive.py PORT     One line on stdout when data begins to come, and one at the end.
"""
import hashlib
import http.server
import sys


class Archive(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        print("begun", flush=True)
        while left > 0:
            data = self.rfile.read1(min(left, 65536))
            if not data:
                break
            digest.update(data)
            left -= len(data)
        print("ended", left, flush=True)
        body = f"{digest.hexdigest()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Archive)
print("ready", flush=True)
server.serve_forever()
