"""Makes hostile inputs of valid samples. The same seed gives the same input."""

from random import Random

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_TOKENS = (
    b"\n", b"\r\n", b"\0", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b'"', b"'", b"\\", b",",
    b":", b"<", b">", b"</Event>", b"<Event>", b"&#x0;", b"<!DOCTYPE a>", b"]]>", b"|", b"=", b" ", b"\t",
    b"\x1f\x8b\x08", b"PK\x03\x04", b"PK\x01\x02", b"**\0\0", b"ElfChnk\0", b"\x0c\x01", b"\x0f\x01\x01\0",
    b"#fields\t", b"#Fields: ", b"CEF:0|", b"LEEF:2.0|", b"\\ud800", b"1e999", b"-", b"0x", b"&a *a", b"!!x", b"%YAML",
    b"\xed\xa0\x80", b"\xe6\x97", b"\x81\x30",
)  # fmt: skip


def mutated(random: Random, samples: list[bytes], size_max: int) -> bytes:
    """One input: mostly a sample with some changes, sometimes nothing but noise."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(300))
    data = bytearray(random.choice(samples))
    for _ in range(random.choice((1, 1, 1, 2, 3, 5, 8, 20))):
        _CHANGES[random.randrange(len(_CHANGES))](random, data, samples)
    return bytes(data[:size_max])


def _flip(random: Random, data: bytearray, samples: list[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, samples: list[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.randrange(256)


def _number(random: Random, data: bytearray, samples: list[bytes]) -> None:
    size = random.choice((1, 2, 4, 8))
    if len(data) > size:
        at = random.randrange(len(data) - size)
        order = random.choice(("little", "big"))
        number = random.choice(_NUMBERS) if random.random() < 0.7 else random.getrandbits(size * 8)
        data[at : at + size] = (number & (1 << (8 * size)) - 1).to_bytes(size, order)


def _token(random: Random, data: bytearray, samples: list[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    token = random.choice(_TOKENS) * random.choice((1, 1, 1, 2, 40))
    if random.random() < 0.5:
        data[at:at] = token
    else:
        data[at : at + len(token)] = token


def _delete(random: Random, data: bytearray, samples: list[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    del data[at : at + random.choice((1, 2, 4, 16, 100, 512))]


def _repeat(random: Random, data: bytearray, samples: list[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    part = data[at : at + random.choice((1, 4, 20, 100))]
    data[at:at] = part * random.choice((1, 2, 10, 60))


def _cut(random: Random, data: bytearray, samples: list[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _splice(random: Random, data: bytearray, samples: list[bytes]) -> None:
    other = random.choice(samples)
    at, start = random.randrange(len(data) + 1), random.randrange(len(other) + 1)
    part = other[start : start + random.choice((4, 30, 200, 2000))]
    data[at : at + len(part)] = part


def _noise(random: Random, data: bytearray, samples: list[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    part = random.randbytes(random.choice((1, 4, 16, 64)))
    data[at : at + len(part)] = part


_CHANGES = (_flip, _flip, _set, _number, _number, _token, _token, _delete, _repeat, _cut, _splice, _noise)
