#!/usr/bin/env python3
"""Verifies a Keytrail history with Python alone: no package, no network. Written from docs/history.md, apart from the
other verifiers, so that a mistake in one of them shows.

    python3 verify_history.py --key 'NAME+ID+BASE64' [--checkpoint FILE]... [--records FILE]... FOLDER...

Prints one JSON object a folder: verdict (verified | failed), records, findings [{object, leaf, detail}], checked (number
of exported records). Exit code 0: all verified; 1: something is not; 2: wrong use.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import sys


def sha256(data):
    return hashlib.sha256(data).digest()


class Failure(Exception):
    def __init__(self, object_, leaf, detail):
        super().__init__(detail)
        self.finding = {"object": object_, "leaf": leaf, "detail": detail}


# Ed25519, verification only (RFC 8032, section 5.1), on extended homogeneous coordinates

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P != 0:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P != 0:
        return None
    return P - x if (x & 1) != sign else x


def decode_point(data):
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def add_points(a, b):
    m = (a[1] - a[0]) * (b[1] - b[0]) % P
    n = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result


BASE = (recover_x(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)
BASE = (BASE[0], BASE[1], 1, BASE[0] * BASE[1] % P)


def ed25519_fits(public, message, signature):
    if len(signature) != 64:
        return False
    a, r = decode_point(public), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = times(s, BASE), add_points(r, times(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# Keys and notes


def strict_base64(text):
    """The bytes, or None where the text is not their one encoding."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def parse_key(text):
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        return None
    name, key_id, encoded = parts
    typed = strict_base64(encoded)
    if typed is None or len(typed) != 33 or typed[0] != 1 or not name:
        return None
    if sha256(name.encode() + b"\n" + typed)[:4].hex() != key_id:
        return None
    return {"name": name, "id": key_id, "public": typed[1:]}


def parse_note(data):
    """(text, [(name, id, signature)]) or None."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    end = data.rfind(b"\n\n")
    if end < 0 or not data.endswith(b"\n"):
        return None
    signatures = []
    for line in data[end + 2 : -1].split(b"\n"):
        found = re.fullmatch("\u2014 (\\S+) ([A-Za-z0-9+/]+={0,2})", line.decode())
        signed = strict_base64(found.group(2)) if found else None
        if signed is None or len(signed) <= 4:
            return None
        signatures.append((found.group(1), signed[:4].hex(), signed[4:]))
    return data[: end + 1], signatures


def signed_by(note, key):
    text, signatures = note
    return any(
        name == key["name"] and key_id == key["id"] and ed25519_fits(key["public"], text, signature)
        for name, key_id, signature in signatures
    )


ALWAYS = float("inf")


def trusted_keys(given, manifests):
    """[key, from size, to size] of each key that may sign."""
    rotations = []
    for manifest in manifests:
        rotate = manifest.get("rotate")
        statement = rotate.get("statement") if isinstance(rotate, dict) else None
        note = parse_note(statement.encode()) if isinstance(statement, str) else None
        if note is None:
            continue
        said = re.fullmatch(rb"keytrail\.history\.rotation\.v1\n(\S+)\n(\S+)\n(\d+)\n", note[0])
        if said is None:
            continue
        old, new = parse_key(said.group(1).decode()), parse_key(said.group(2).decode())
        if old and new and signed_by(note, old) and signed_by(note, new):
            rotations.append((old, new, int(said.group(3))))
    trusted = [[key, 0, ALWAYS] for key in given]

    def entry(key):
        return next((one for one in trusted if one[0]["id"] == key["id"]), None)

    for old, new, size in rotations:
        known = entry(old)
        if known is not None:
            known[2] = min(known[2], size)
            if entry(new) is None:
                trusted.append([new, size, ALWAYS])
    for old, new, size in reversed(rotations):
        if entry(new) is not None and entry(old) is None:
            trusted.append([old, 0, size])
    return trusted


CHECKPOINT = re.compile(
    rb"([^\n+\s]+)\n(0|[1-9]\d*)\n([A-Za-z0-9+/]{43}=)\nmanifest ([1-9]\d*) ([0-9a-f]{64})\n"
)


WITHIN = re.compile(
    r"[^\s+]+\n\d+\n[A-Za-z0-9+/]{43}=\nmanifest \d+ [0-9a-f]{64}\n\n(?:\u2014 \S+ [A-Za-z0-9+/]+={0,2}\n?)+"
)


def retained_in(path):
    """The checkpoints of a file: one as it is, or alerts that carry them, as JSON or CSV."""
    with open(path, "rb") as file:
        data = file.read()
    text = data.decode("utf-8", "replace")
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda one: chr(int(one.group(1), 16)), text)
    for escaped, plain in ((r"\\+n", "\n"), (r"\\+r", "\r"), (r"\\+/", "/"), ("\r\n", "\n")):
        text = re.sub(escaped, plain, text)
    notes = dict.fromkeys(one.rstrip("\n") + "\n" for one in WITHIN.findall(text))
    return [note.encode() for note in notes] or [data]


def open_checkpoint(data, object_, trusted):
    if data is None:
        raise Failure(object_, None, "there is no checkpoint")
    note = parse_note(data)
    found = CHECKPOINT.fullmatch(note[0]) if note else None
    root = strict_base64(found.group(3).decode()) if found else None
    if root is None:
        raise Failure(object_, None, "it is not a signed checkpoint")
    origin, size = found.group(1).decode(), int(found.group(2))
    named = [
        one for one in trusted if any(name == one[0]["name"] and key_id == one[0]["id"] for name, key_id, _ in note[1])
    ]
    if not named:
        raise Failure(object_, None, "it is signed by none of the keys")
    for key, _, _ in named:
        if not signed_by(note, key):
            raise Failure(object_, None, "a signature is wrong")
    if not any(key["name"] == origin and first <= size <= last for key, first, last in named):
        raise Failure(object_, None, "its key was not in force")
    return {"size": size, "root": root.hex(), "number": int(found.group(4)), "hash": found.group(5).decode()}


# The chain of manifests


def manifest_path(number):
    return "manifest/%09d.json" % number


class Folder:
    def __init__(self, path):
        self.path = path

    def read(self, name):
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        except OSError:
            return None

    def manifests(self):
        """number -> (manifest, hash of its bytes), of those that are JSON objects."""
        found = {}
        for name in sorted(os.listdir(os.path.join(self.path, "manifest"))):
            number = re.fullmatch(r"(\d{9})\.json", name)
            data = self.read("manifest/" + name) if number else None
            try:
                manifest = json.loads(data) if data else None
            except ValueError:
                continue
            if isinstance(manifest, dict):
                found[int(number.group(1))] = (manifest, sha256(data).hex())
        return found


def chain_of(manifests, newest):
    chain, expected = [], newest["hash"]
    for number in range(newest["number"], 0, -1):
        manifest, digest = manifests.get(number, (None, None))
        if digest != expected or manifest["number"] != number:
            raise Failure(manifest_path(number), None, "the next manifest names another")
        chain.append((manifest, digest))
        expected = manifest["previous"]
    return chain[::-1]


def rows_of(files):
    return sum(one["rows"] for one in files)


def ranges_of(files):
    return sorted([list(each) for one in files for each in one["leaves"]])


def follow(chain):
    """What the chain sums up to. Raises where one step contradicts those before it."""
    files, holds, size, root = {}, {}, 0, sha256(b"").hex()
    for manifest, _ in chain:

        def require(truth, detail):
            if not truth:
                raise Failure(manifest_path(manifest["number"]), size, detail)

        what, added, tree = manifest["what"], manifest["added"], manifest["tree"]
        require(all(path in files for path in manifest["removed"]), "it removes an unknown file")
        removed = [files[path] for path in manifest["removed"]]
        ranges = ranges_of(added)
        require(rows_of(added) == sum(last - first + 1 for first, last in ranges), "rows and numbers differ")
        if what == "seal":
            next_ = size
            for first, last in ranges:
                require(first == next_, "records are left out or there twice")
                next_ = last + 1
            require(next_ == tree["size"], "the tree does not end with its files")
        else:
            require((tree["size"], tree["root"]) == (size, root), "the tree must stay")
            require(what == "compact" or not added, "it must not add files")
        require(what in ("compact", "expire") or not removed, "it must not remove files")
        if what == "compact":
            require(rows_of(added) == rows_of(removed), "it has another number of records")
            for first, last in ranges_of(removed):
                require(any(a <= first and last <= b for a, b in ranges), "records are lost")
        if what == "expire":
            for one in removed:
                for hold in holds.values():
                    require(not hold["from"] <= one["day"] <= hold["to"], "it removes what is on hold")
        files.update((one["path"], one) for one in added)
        for path in manifest["removed"]:
            del files[path]
        if "hold" in manifest:
            holds[manifest["hold"]["name"]] = manifest["hold"]
        if "release" in manifest:
            holds.pop(manifest["release"], None)
        if "all" in manifest:
            require(
                manifest["all"]["files"] == list(files.values()) and manifest["all"]["holds"] == list(holds.values()),
                "its sum is wrong",
            )
        size, root = tree["size"], tree["root"]
    return files, size, root


# The tree


def tile_path(level, index, width):
    groups = []
    rest = index
    while True:
        groups.insert(0, "%03d" % (rest % 1000))
        rest //= 1000
        if rest == 0:
            break
    name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return "tile/%d/%s%s" % (level, name, "" if width == 256 else ".p/%d" % width)


def merkle(hashes):
    """RFC 6962, 2.1, iteratively: equal subtrees join from the left, and what is left over from the right."""
    stack = []
    for at, one in enumerate(hashes):
        stack.append(one)
        count = at + 1
        while count % 2 == 0:
            right = stack.pop()
            stack.append(sha256(b"\x01" + stack.pop() + right))
            count //= 2
    if not stack:
        return sha256(b"")
    result = stack.pop()
    while stack:
        result = sha256(b"\x01" + stack.pop() + result)
    return result


class Tree:
    def __init__(self, folder, size):
        self.folder, self.size, self.leaves = folder, size, []
        for index in range((size + 255) // 256):
            width = min(256, size - index * 256)
            path = tile_path(0, index, width)
            data = folder.read(path)
            if data is None or len(data) != width * 32:
                raise Failure(path, index * 256, "it must hold %d hashes" % width)
            self.leaves += [data[at : at + 32] for at in range(0, len(data), 32)]
        # The tile that holds the root of each tile below, level by level.
        self.levels = [self.leaves]
        while len(self.levels[-1]) >= 256:
            below = self.levels[-1]
            self.levels.append([merkle(below[at : at + 256]) for at in range(0, len(below) - 255, 256)])

    def root(self, size):
        """Of the first records: full tiles count as one node of the level above."""
        parts = []  # (height, hash), from left to right
        position, level = 0, len(self.levels) - 1
        while level >= 0:
            span = 256**level
            count = (size - position) // span
            hashes = self.levels[level][position // span : position // span + count]
            bit = 1
            while bit * 2 <= len(hashes):
                bit *= 2
            at = 0
            while bit:
                if len(hashes) - at >= bit:
                    parts.append(merkle(hashes[at : at + bit]))
                    at += bit
                bit //= 2
            position += count * span
            level -= 1
        if not parts:
            return sha256(b"")
        result = parts.pop()
        while parts:
            result = sha256(b"\x01" + parts.pop() + result)
        return result

    def check(self, seals):
        begin = 0
        for seal in seals:
            if self.root(seal["size"]).hex() != seal["root"]:
                self.blame(begin, seal["size"])
            begin = seal["size"]
        findings = []
        for level in range(1, len(self.levels)):
            hashes = self.levels[level]
            for index in range((len(hashes) + 255) // 256):
                own = hashes[index * 256 : index * 256 + 256]
                path = tile_path(level, index, len(own))
                data = self.folder.read(path)
                if data == b"".join(own):
                    continue
                first = 0
                if data is not None and len(data) == len(own) * 32:
                    first = next(at for at in range(len(own)) if data[at * 32 : at * 32 + 32] != own[at])
                leaf = (index * 256 + first) * 256**level
                findings.append({"object": path, "leaf": leaf, "detail": "it contradicts the level below"})
        return findings

    def blame(self, begin, end):
        full = self.size // 256
        last = (end - 1) // 256
        bad = last
        for index in range(begin // 256, last + 1):
            if index >= full:
                break
            above = index // 256
            data = self.folder.read(tile_path(1, above, min(256, full - above * 256)))
            at = index % 256 * 32
            if data is None or data[at : at + 32] != self.levels[1][index]:
                bad = index
                break
        raise Failure(tile_path(0, bad, min(256, self.size - bad * 256)), bad * 256, "another root at %d" % end)


# Exported records

KINDS = ["feed", "alerts", "signals", "rejections", "control"]


def leaf_of(record):
    entry = bytes([KINDS.index(record["kind"])])
    entry += record["seq"].to_bytes(8, "big") + record["item"].to_bytes(4, "big") + record["kept"].to_bytes(8, "big")
    entry += sha256(base64.b64decode(record["raw"])) + sha256(record["body"].encode("utf-8"))
    return sha256(b"\x00" + entry)


def check_records(paths, leaves, files):
    seen, bad, unknown = set(), set(), 0
    for path in paths:
        with open(path, "rb") as lines:
            for line in lines:
                number = None
                try:
                    record = json.loads(line)
                    number = record["leaf"]
                    good = number not in seen and 0 <= number < len(leaves) and leaf_of(record) == leaves[number]
                    seen.add(number)
                except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                    good = False
                if good:
                    continue
                if isinstance(number, int):
                    bad.add(number)
                else:
                    unknown += 1
    for one in files:
        numbers = [leaf for first, last in one["leaves"] for leaf in range(first, last + 1)]
        missing = [leaf for leaf in numbers if leaf not in seen]
        if len(missing) < len(numbers):
            bad.update(missing)
    if not bad and not unknown:
        return len(seen), []
    detail = "%d are missing or not what was sealed" % (len(bad) + unknown)
    return len(seen), [{"object": "exported records", "leaf": min(bad) if bad else None, "detail": detail}]


def verify(path, keys, checkpoints, records):
    folder, findings, size, checked = Folder(path), [], 0, 0
    try:
        manifests = folder.manifests()
        trusted = trusted_keys(keys, [manifests[number][0] for number in sorted(manifests)])
        newest = open_checkpoint(folder.read("checkpoint"), "checkpoint", trusted)
        size = newest["size"]
        chain = chain_of(manifests, newest)
        for at, data in enumerate(checkpoints):
            name = "retained checkpoint %d" % (at + 1)
            kept = open_checkpoint(data, name, trusted)
            if kept["number"] > len(chain) or chain[kept["number"] - 1][1] != kept["hash"]:
                raise Failure(name, kept["size"], "it belongs to another history")
        files, end, root = follow(chain)
        if (end, root) != (newest["size"], newest["root"]):
            raise Failure("checkpoint", None, "its manifest has another tree")
        tree = Tree(folder, size)
        findings += tree.check([manifest["tree"] for manifest, _ in chain if manifest["what"] == "seal"])
        for name, one in files.items():
            data = folder.read(name)
            if data is None or sha256(data).hex() != one["sha256"]:
                detail = "it is not there" if data is None else "it is not what was sealed"
                findings.append({"object": name, "leaf": one["leaves"][0][0], "detail": detail})
        checked, bad = check_records(records, tree.leaves, files.values())
        findings += bad
    except Failure as failure:
        findings.append(failure.finding)
    except OSError as failure:
        findings.append({"object": path, "leaf": None, "detail": str(failure)})
    verdict = "failed" if findings else "verified"
    return {"folder": path, "verdict": verdict, "records": size, "checked": checked, "findings": findings}


def main():
    parser = argparse.ArgumentParser(description="Verifies a Keytrail history.")
    parser.add_argument("--key", action="append", required=True, help="verifier key, as `keytrail history key` prints it")
    parser.add_argument("--checkpoint", action="append", default=[], help="checkpoint that was kept elsewhere")
    parser.add_argument("--records", action="append", default=[], help="what `keytrail history export` printed")
    parser.add_argument("folder", nargs="+")
    options = parser.parse_args()
    keys = [parse_key(text) for text in options.key]
    if None in keys:
        parser.error("that is no verifier key")
    checkpoints = [one for path in options.checkpoint for one in retained_in(path)]
    failed = False
    for folder in options.folder:
        report = verify(folder, keys, checkpoints, options.records)
        failed = failed or report["verdict"] == "failed"
        print(json.dumps(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
