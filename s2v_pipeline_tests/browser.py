"""Playing what the pipeline delivers in headless Chromium, from a local server, as a viewer would.

Belongs here: the server, the page, starting Chromium, what was played. Needs Chromium, npm and the package playwright.
Does not belong here: what is played (the tests marked browser, benchmarks/delivery.py).
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HLS_JS, DASH_JS = "hls.js@1.7.4", "dashjs@5.2.1"
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)
_TYPES = {
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".webm": "video/webm",
    ".mov": "video/mp4",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".vtt": "text/vtt",
    ".js": "text/javascript",
    ".html": "text/html",
}
_PAGE = """<!doctype html><meta charset="utf-8"><video id="v" width="320"></video>
<script src="/players/hls.js"></script><script src="/players/dash.js"></script><script>
const video = document.getElementById("v");
const wait = ms => new Promise(done => setTimeout(done, ms));
async function until(what, limit_ms) {
  const from = performance.now();
  while (!what() && !video.error && performance.now() - from < limit_ms) await wait(50);
  return what();
}
async function play(url, kind, seek_s) {
  const starts = [];
  if (kind === "hls") {
    const hls = new Hls();
    hls.on(Hls.Events.FRAG_LOADED, (_, data) => { if (data.frag.type === "main") starts.push(data.frag.start); });
    hls.loadSource(url); hls.attachMedia(video);
  } else if (kind === "dash") {
    const player = dashjs.MediaPlayer().create();
    player.on("fragmentLoadingCompleted", e => {
      if (e.request.mediaType === "video" && e.request.type === "MediaSegment") starts.push(e.request.startTime);
    });
    player.initialize(video, url, false);
  } else { video.src = url; }
  const report = {ready: await until(() => video.readyState >= 3, 20000)};
  if (!report.ready) return {...report, error: video.error && video.error.message, starts};
  report.duration_s = video.duration;
  report.size = [video.videoWidth, video.videoHeight];
  await video.play();
  const context = new AudioContext(), analyser = context.createAnalyser();
  const source = context.createMediaElementSource(video);
  source.connect(analyser); analyser.connect(context.destination);
  let loudest = 0; const samples = new Float32Array(analyser.fftSize);
  const listening = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    for (const each of samples) loudest = Math.max(loudest, Math.abs(each));
  }, 50);
  const from_s = video.currentTime;
  await until(() => video.currentTime - from_s > 1, 20000);
  report.advanced_s = video.currentTime - from_s;
  video.pause(); video.currentTime = seek_s;
  await until(() => !video.seeking && video.readyState >= 2, 20000);
  report.sought_to_s = video.currentTime;
  await video.play();
  await until(() => video.ended, 40000);
  clearInterval(listening);
  const quality = video.getVideoPlaybackQuality();
  return {...report, ended: video.ended, end_s: video.currentTime, loudest,
    audio_bytes: video.webkitAudioDecodedByteCount, video_bytes: video.webkitVideoDecodedByteCount,
    frames_shown: quality.totalVideoFrames, frames_dropped: quality.droppedVideoFrames,
    tracks: video.textTracks.length, starts: [...new Set(starts)].sort((a, b) => a - b)};
}
</script>"""


@dataclass(frozen=True)
class Played:
    """What Chromium says of one playing: its page's report, values as JavaScript has them."""

    report: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Ran for a second, sought, ran to its end, was seen and was heard."""
        report = self.report
        return bool(
            report.get("ended")
            and report["advanced_s"] > 1
            and report["frames_shown"] > 0
            and report["audio_bytes"] > 0
            and report["loudest"] > 0.01
        )


def fetch_players(folder: Path) -> Path:
    """hls.js and dash.js from npm's registry, as `hls.js` and `dash.js` in the folder that is given back."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch hls.js and dash.js")
    subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), HLS_JS, DASH_JS],
        check=True,
        timeout=180,
    )
    players = folder / "players"
    players.mkdir(exist_ok=True)
    modules = folder / "node_modules"
    shutil.copyfile(modules / "hls.js" / "dist" / "hls.min.js", players / "hls.js")
    shutil.copyfile(modules / "dashjs" / "dist" / "modern" / "umd" / "dash.all.min.js", players / "dash.js")
    return players


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files with byte ranges, which a browser needs to seek in a single file."""

    extensions_map: dict[str, str] = _TYPES

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range", "")
        if not wanted.startswith("bytes=") or not path.is_file():
            super().do_GET()
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = path.stat().st_size
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        self.send_response(206)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            try:
                self.wfile.write(file.read(stop - start))
            except ConnectionError:
                return  # the browser has what it wanted


@contextmanager
def chromium_page(media: Path, players: Path) -> Iterator[Any]:
    """A page that plays files of a folder; `play` takes it."""
    from playwright.sync_api import sync_playwright

    (media / "index.html").write_text(_PAGE)
    if not (media / "players").exists():
        shutil.copytree(players, media / "players")
    handler = functools.partial(_Handler, directory=str(media))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory() as profile,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            headless=True,
            args=list(CHROMIUM_FLAGS),
            ignore_default_args=["--mute-audio"],
        )
        try:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/index.html")
            yield page
        finally:
            context.close()
            server.shutdown()


def play(page: Any, name: str, *, seek_s: float, kind: str = "file") -> Played:
    """Play a file of the folder, a second, then from `seek_s` to the end; `kind` is file, hls or dash."""
    page.reload()
    return Played(page.evaluate("([name, kind, seek]) => play('/' + name, kind, seek)", [name, kind, seek_s]))
