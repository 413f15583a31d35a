"""Which HTTP requests the page answers, and the headers of every response.

The page is for this machine only. A web site that is open in the same browser must neither read it nor use it: not with
a form or a script, and not under a name of its own that leads to 127.0.0.1 (DNS rebinding).
"""

import re
from email.message import Message

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)


def refusal(headers: Message, is_page: bool, is_post: bool) -> tuple[int, str] | None:
    """The status and the reason with which to refuse an HTTP request; None to answer it.

    Other sites may link to the page itself, `is_page`, but they may load nothing else from it.
    """
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0].strip()):
        return 403, "This page answers only as 127.0.0.1 or localhost"
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{hosts[0].strip()}".lower():
        return 403, "Another site has sent this"
    if not is_page and headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return 403, "Another site has sent this"
    if is_post and headers.get_content_type() != "application/json":
        return 415, "Send JSON, with Content-Type: application/json"
    return None
