"""Changes one bit of the last SSH signature in a ledger, and makes every checksum and chain fit again."""
import base64
import hashlib
import struct
import sys

TABLE = []
for b in range(256):
    for _ in range(8):
        b = b >> 1 ^ (0x82F63B78 if b & 1 else 0)
    TABLE.append(b)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = crc >> 8 ^ TABLE[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


def main(path):
    data = open(path, "rb").read()
    at, chain, frames = 8, bytes(32), []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        frames.append(data[at + 8:at + 8 + length])
        if crc32c(data[at:at + 4] + frames[-1]) != struct.unpack_from("<I", data, at + 4)[0]:
            sys.exit("the frame's checksum is not understood here")
        at += 8 + length + 32
    begin, end = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----"
    index = max(i for i, frame in enumerate(frames) if begin in frame)
    frame = frames[index]
    first = frame.index(begin) + len(begin)
    last = frame.index(end)
    lines = frame[first:last].split(b"\n")
    blob = bytearray(base64.b64decode(b"".join(lines)))
    blob[-1] ^= 1
    text = base64.b64encode(bytes(blob))
    width = len(lines[0])
    body = b"".join(text[i:i + width] + b"\n" for i in range(0, len(text), width))
    if len(body) != last - first:
        sys.exit("the armor has other lines than expected")
    frames[index] = frame[:first] + body + frame[last:]
    with open(path, "wb") as out:
        out.write(data[:8])
        for frame in frames:
            head = struct.pack("<I", len(frame))
            chain = hashlib.sha256(chain + frame).digest()
            out.write(head + struct.pack("<I", crc32c(head + frame)) + frame + chain)


main(sys.argv[1])
