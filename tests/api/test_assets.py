"""The files of the pages: their addresses change with them, they are sent small, and come from nowhere else."""

from __future__ import annotations

import gzip
import hashlib
import re

from api.assets import FOLDER
from tests.api.place import Place

STYLE = "burnish.css"


def address(place: Place, filename: str = STYLE) -> str:
    with place.app.test_request_context():
        return str(place.app.url_for("static", filename=filename))


def test_a_file_asked_by_the_present_hash_is_kept_for_ever(place: Place) -> None:
    response = place.client.get(address(place))
    assert re.fullmatch(r"/static/[0-9a-f]{16}/burnish\.css", address(place))
    assert response.status_code == 200
    assert response.mimetype == "text/css"
    assert "immutable" in response.headers["Cache-Control"]
    assert response.data == (FOLDER / STYLE).read_bytes()


def test_a_page_from_before_an_upgrade_still_gets_its_files_but_asks_again(place: Place) -> None:
    response = place.client.get(f"/static/0000000000000000/{STYLE}")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-cache"
    etag = {"If-None-Match": response.headers["ETag"]}
    assert place.client.get(f"/static/0000000000000000/{STYLE}", headers=etag).status_code == 304


def test_texts_are_compressed_for_who_takes_it(place: Place) -> None:
    packed = place.client.get(address(place), headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == (FOLDER / STYLE).read_bytes()
    assert len(packed.data) < (FOLDER / STYLE).stat().st_size / 2


def test_pages_are_compressed_for_who_takes_it(place: Place) -> None:
    plain = place.client.get("/docs")
    packed = place.client.get("/docs", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data


def test_no_file_outside_the_folder_can_be_asked_for(place: Place) -> None:
    for name in ("../app.py", "%2e%2e/app.py", "no-such.css", "plots", "vendor/../../app.py"):
        assert place.client.get(f"/static/any/{name}").status_code == 404, name


def test_what_is_vendored_is_what_its_list_says_and_has_its_licence() -> None:
    folder = FOLDER / "vendor"
    listed = dict(re.findall(r"\| `([\w.]+\.js)` .*`([0-9a-f]{64})` \|", (folder / "README.md").read_text()))
    assert set(listed) == {path.name for path in folder.glob("*.js")}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
        licence = (folder / name.replace(".min.js", ".LICENSE")).read_text()
        assert "Permission to use, copy, modify" in licence


def test_style_covers_light_dark_phones_and_still_eyes_and_loads_nothing_from_elsewhere() -> None:
    own = [path for path in FOLDER.rglob("*") if path.suffix in (".css", ".js") and path.parent.name != "vendor"]
    for path in own:
        assert not re.search(r"(?:https?:)?//\w+\.\w+/", path.read_text().replace("http://www.w3.org/", "")), path
    style = (FOLDER / STYLE).read_text()
    for part in ("prefers-color-scheme: dark", "max-width: 640px", "prefers-reduced-motion", ":focus-visible"):
        assert part in style, part


def test_every_text_colour_stands_out_from_every_ground_it_is_on() -> None:
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3), in light and in dark."""
    light, dark = re.findall(r":root \{(.*?)\}", (FOLDER / STYLE).read_text(), re.DOTALL)[:2]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("ground", "card", "sunken")]
        pairs += [(kind, f"{kind}-ground") for kind in ("good", "bad", "warn", "busy")]
        pairs += [(kind, "card") for kind in ("good", "bad", "warn", "busy")]
        pairs += [("quiet", "plain-ground"), ("ink", "plain-ground"), ("ink", "good-ground"), ("on-accent", "accent")]
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground, colours[text], colours[ground])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
