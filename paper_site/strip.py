"""Media files without the texts that programs put into them, sample for sample and pixel for pixel the same.

PNG (text, time and EXIF chunks), JPEG (application segments and comments), RIFF/WAVE (everything but format and
samples), FLAC (comments, pictures, application blocks), Ogg Vorbis and Opus (comments), MP3 (ID3 tags).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import cache

from paper_site.audio import HeaderError, flac_blocks, ogg_packets, ogg_pages, sniff, wav_chunks

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"))


def texts_of(data: bytes) -> Iterator[bytes]:
    """Every text that a media file carries beside its picture or sound, uncompressed.

    Files of other kinds and broken files yield nothing.
    """
    try:
        yield from _texts(data)
    except (struct.error, IndexError, HeaderError, zlib.error, ValueError):
        return


def _texts(data: bytes) -> Iterator[bytes]:
    if data.startswith(_PNG):
        for name, body in _png_chunks(data):
            if name == b"zTXt":
                key, _, packed = body.partition(b"\0")
                yield key + b" " + zlib.decompress(packed[1:])
            elif name == b"iTXt":
                key, _, rest = body.partition(b"\0")
                language, _, rest_of = rest[2:].partition(b"\0")
                translated, _, text = rest_of.partition(b"\0")
                yield b" ".join((key, language, translated, zlib.decompress(text) if rest[:1] == b"\x01" else text))
            elif name in _PNG_TEXTS:
                yield body
    elif data.startswith(b"\xff\xd8"):
        yield from (body for marker, body in _jpeg_segments(data) if marker >= 0xE0)
    elif sniff(data) == "wav":
        for name, begin, end in wav_chunks(data):
            if name not in {b"fmt ", b"data", b"fact", b"ds64"}:
                yield name + b" " + data[begin:end]
    elif sniff(data) == "flac":
        yield from (data[begin:end] for kind, begin, end in flac_blocks(data) if kind in {2, 4, 5, 6})
    elif sniff(data) == "ogg":
        yield from ogg_packets(data, 2)[1:]
    elif sniff(data) == "mp3":
        size = _id3_size(data)
        yield data[:size]
        if data[-128:-125] == b"TAG":
            yield data[-128:]


def strip(data: bytes) -> bytes:
    """Take the texts out of a media file; a file of another kind comes back as it is.

    Raises:
        ValueError: If the file is broken.
    """
    try:
        if data.startswith(_PNG):
            return _PNG + b"".join(
                struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
                for name, body in _png_chunks(data)
                if name not in _PNG_TEXTS
            )
        if data.startswith(b"\xff\xd8"):
            return _strip_jpeg(data)
        match sniff(data):
            case "wav":
                kept = [(n, data[b:e]) for n, b, e in wav_chunks(data) if n in {b"fmt ", b"data", b"fact", b"ds64"}]
                body = b"".join(n + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for n, c in kept)
                return data[:4] + struct.pack("<I", min(len(body) + 4, 0xFFFFFFFF)) + b"WAVE" + body
            case "flac":
                return _strip_flac(data)
            case "ogg":
                return _strip_ogg(data)
            case "mp3":
                data = data[_id3_size(data) :]
                return data[:-128] if data[-128:-125] == b"TAG" else data
    except (struct.error, IndexError, HeaderError) as wrong:
        raise ValueError(f"the file is broken ({wrong})") from None
    return data


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        yield name, data[place + 8 : place + 8 + size]
        place += 12 + size


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Segments before the picture's own data, as (marker, body)."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        size = struct.unpack_from(">H", data, place + 2)[0]
        yield data[place + 1], data[place + 4 : place + 2 + size]
        place += 2 + size


def _strip_jpeg(data: bytes) -> bytes:
    kept, place = [data[:2]], 2
    for marker, body in _jpeg_segments(data):
        end = place + 4 + len(body)
        # The segments 0xE0 (its density) and 0xEE (its colours) are needed to show the picture.
        if marker < 0xE0 or marker in {0xE0, 0xEE}:
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _strip_flac(data: bytes) -> bytes:
    blocks = list(flac_blocks(data))
    kept = [(kind, data[begin:end]) for kind, begin, end in blocks if kind not in {2, 4, 5, 6}]
    heads = [
        bytes([kind | (0x80 if number == len(kept) - 1 else 0)]) + len(body).to_bytes(3, "big") + body
        for number, (kind, body) in enumerate(kept)
    ]
    return b"fLaC" + b"".join(heads) + data[blocks[-1][2] :]


def _id3_size(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
    return 10 + size


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        rest = value << 24
        for _ in range(8):
            rest = (rest << 1 ^ 0x04C11DB7 if rest & 0x80000000 else rest << 1) & 0xFFFFFFFF
        table.append(rest)
    return table


def _ogg_page(flags: int, granule: int, serial: int, number: int, lacing: bytes, body: bytes) -> bytes:
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, number, 0, len(lacing)) + lacing
    table, rest = _crc_table(), 0
    for value in head + body:
        rest = (rest << 8 & 0xFFFFFFFF) ^ table[rest >> 24 ^ value]
    return head[:22] + struct.pack("<I", rest) + head[26:] + body


def _strip_ogg(data: bytes) -> bytes:
    pages = list(ogg_pages(data))
    serial = pages[0].serial
    if any(page.serial != serial for page in pages):
        raise HeaderError("it holds several streams")
    opus = data[pages[0].body :].startswith(b"OpusHead")
    headers = ogg_packets(data, 2 if opus else 3)
    empty = struct.pack("<II", 0, 0)
    headers[1] = b"OpusTags" + empty if opus else b"\x03vorbis" + empty + b"\x01"
    # Head packets end with their page; find the first page of sound.
    ended, first = 0, 0
    for number, page in enumerate(pages):
        ended += sum(size < 255 for size in page.lacing)
        if ended >= len(headers):
            first = number + 1
            break
    lacing, body = b"", b""
    for packet in headers[1:]:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
        body += packet
    made = [_ogg_page(pages[0].flags, 0, serial, 0, bytes([len(headers[0])]), headers[0])]
    while lacing:
        part, lacing = lacing[:255], lacing[255:]
        size = sum(part)
        begun = len(made) > 1 and made[-1][26 + made[-1][26]] == 255
        whole = any(value < 255 for value in part)
        made.append(_ogg_page(int(begun), 0 if whole else -1, serial, len(made), part, body[:size]))
        body = body[size:]
    for page in pages[first:]:
        made.append(_ogg_page(page.flags, page.granule, serial, len(made), page.lacing, data[page.body : page.end]))
    return b"".join(made)
