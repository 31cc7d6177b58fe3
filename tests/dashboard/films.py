"""Pictures and films made of nothing, for artifacts."""

from __future__ import annotations

import base64
import struct
import zlib

from playwright.sync_api import Browser

_FILM = """async () => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const pen = canvas.getContext('2d');
    const recorder = new MediaRecorder(canvas.captureStream(20), {mimeType: 'video/webm'});
    const parts = [];
    recorder.ondataavailable = event => parts.push(event.data);
    const ended = new Promise(resolve => { recorder.onstop = resolve; });
    recorder.start();
    for (let turn = 0; turn < 12; turn += 1) {
        pen.fillStyle = `rgb(${turn * 20}, 80, 160)`;
        pen.fillRect(0, 0, 64, 64);
        await new Promise(resolve => setTimeout(resolve, 40));
    }
    recorder.stop();
    await ended;
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
}"""


def png(side: int, red: int, green: int, blue: int) -> bytes:
    """A square of a colour that fades downwards."""
    rows = b"".join(
        b"\0" + bytes((red * y // side, green * y // side, blue)) * side for y in range(1, side + 1)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def film(browser: Browser) -> bytes:
    """Half a second of WebM, recorded by the browser itself."""
    page = browser.new_page()
    found: str = page.evaluate(_FILM)
    page.close()
    return base64.b64decode(found)
