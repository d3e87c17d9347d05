"""Takes events and answers 204 to those that Joinder signed. Needs WEBHOOK_SECRET, the `secret` of POST /webhooks."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SEEN: set[str] = set()  # a table of your database, in earnest: an event may come twice


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, headers)
        except WebhookVerificationError:
            self._answer(401)
            return
        if headers["webhook-id"] not in SEEN:
            SEEN.add(headers["webhook-id"])
            event = json.loads(body)
            print(event["type"], event["data"], flush=True)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Receiver)
    print(f"listening at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
