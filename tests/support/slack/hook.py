"""A stand-in for the hook of Slack's integration of Travis CI, over TLS. It checks the form of each message, and prints
the messages that it has taken as lines of JSON.

usage: hook.py CERTIFICATE KEY TOKEN
Prints its port first.
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

certificate, key, token = sys.argv[1:]


def check(request, body):
    if request.headers["Host"] != "acme.slack.com" or request.path != f"/services/hooks/travis?token={token}":
        return 404, "no_service"
    if request.headers["Content-Type"] != "application/json":
        return 400, "invalid_payload"
    if not isinstance(body.get("text"), str) or len(body["attachments"]) > 20:
        return 400, "no_text"
    for block in (block for attachment in body["attachments"] for block in attachment["blocks"]):
        if block["type"] != "section" or not 0 < len(block["text"]["text"]) <= 3000:
            return 400, "invalid_blocks"
    if body.get("channel") == "#gone":
        return 404, "channel_not_found"
    return 200, "ok"


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, words = check(self, body)
        if status == 200:
            print(json.dumps(body), flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        self.wfile.write(words.encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
