#!/usr/bin/python3
"""Checks that a set of sample images is as README.md claims: check_set.py OUT.

Reads the archives and the OCI layout without unpacking them, and prints what they hold.
"""

import gzip
import hashlib
import json
import os
import sys
import tarfile

IMAGES = {
    # image: entry, munge's uid and gid
    "samp": (["ldmsd.sh"], (101, 101)),
    "agg": (["ldmsd.sh"], (101, 101)),
    "maestro": (["/start.sh"], (101, 101)),
    "ui": (["/start-uwsgi-sosgui.sh"], (101, 101)),
    "dev": (None, (106, 107)),
    "grafana": (["/run.sh"], None),
}
RECURRING = "opt/ovis/sbin/ldmsd"


def claim(holds, text):
    """Ends the check where a claim does not hold."""
    if not holds:
        sys.exit(f"check_set.py: not so: {text}")


def digest(data):
    """As OCI writes it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(file):
    """The same of a file that may be larger than memory."""
    counted = hashlib.sha256()
    while data := file.read(1 << 20):
        counted.update(data)
    return "sha256:" + counted.hexdigest()


class Image:
    """One archive, read once: its configuration, and what its layers put where."""

    def __init__(self, out, name):
        self.name = name
        with tarfile.open(os.path.join(out, f"ovishpc-ldms-{name}.tar")) as tar:
            members = {m.name: m for m in tar}

            def read(member):
                return tar.extractfile(members[member]).read()

            (entry,) = json.loads(read("manifest.json"))
            claim(entry["RepoTags"] == [f"ovishpc/ldms-{name}:latest"], f"{name}'s RepoTags")
            config = read(entry["Config"])
            self.id = digest(config)
            claim(entry["Config"].endswith(self.id[7:]), f"{name}: the config's name is its digest")
            self.config = json.loads(config)
            self.diff_ids = self.config["rootfs"]["diff_ids"]
            claim(len(entry["Layers"]) == len(self.diff_ids), f"{name}: a diffID for each layer")
            self.files, self.whiteouts = {}, []
            for path, diff_id in zip(entry["Layers"], self.diff_ids):
                layer = tar.extractfile(members[path])
                claim(digest_of(layer) == diff_id, f"{name}: {path} has its diffID")
                layer.seek(0)
                self.walk(layer)
            (named,) = json.loads(read("index.json"))["manifests"]
            claim(digest(read(blob(named["digest"]))) == named["digest"], f"{name}: index.json")

    def walk(self, file):
        """Keeps the members of a layer and what a few of them hold."""
        with tarfile.open(fileobj=file) as layer:
            for member in layer:
                if os.path.basename(member.name).startswith(".wh."):
                    self.whiteouts.append(member.name)
                held = b""
                if member.isfile() and member.name in (RECURRING, "etc/passwd", "etc/munge/munge.key"):
                    held = layer.extractfile(member).read()
                self.files[member.name] = (member, held)


def blob(name):
    """A blob's path in an OCI layout."""
    return "blobs/" + name.replace(":", "/")


def check_layout(out, images):
    """The layout holds the same images, with gzip layers."""
    layout = os.path.join(out, "oci")

    def read(name):
        with open(os.path.join(layout, name), "rb") as file:
            return file.read()

    found, hashed = {}, {}
    for descriptor in json.loads(read("index.json"))["manifests"]:
        data = read(blob(descriptor["digest"]))
        claim(digest(data) == descriptor["digest"], "a manifest has its digest")
        manifest = json.loads(data)
        found[descriptor["annotations"]["org.opencontainers.image.ref.name"]] = manifest
        for layer in manifest["layers"]:
            if layer["digest"] not in hashed:
                path = os.path.join(layout, blob(layer["digest"]))
                with open(path, "rb") as file:
                    claim(digest_of(file) == layer["digest"], "a layer has its digest")
                with gzip.open(path) as file:
                    hashed[layer["digest"]] = digest_of(file)
    claim(set(found) == {f"ovishpc/ldms-{name}:latest" for name in IMAGES}, "the layout's names")
    for image in images:
        manifest = found[f"ovishpc/ldms-{image.name}:latest"]
        claim(manifest["config"]["digest"] == image.id, f"{image.name}: one config in both shapes")
        inflated = [hashed[layer["digest"]] for layer in manifest["layers"]]
        claim(inflated == image.diff_ids, f"{image.name}: the layout's layers have the diffIDs")
        size = sum(layer["size"] for layer in manifest["layers"])
        print(f"{image.name:8} {len(image.diff_ids):2} layers, {size / 1e6:6.1f} MB as gzip")


def check_image(image):
    """What the image claims of itself."""
    entry, munge = IMAGES[image.name]
    config = image.config["config"]
    claim(config.get("Entrypoint") == entry, f"{image.name}'s entrypoint")
    if image.name == "grafana":
        claim(config["User"] == "472", "grafana's user")
        return
    claim(entry or config["Cmd"] == ["/bin/bash"], "dev's command")
    env = dict(pair.split("=", 1) for pair in config["Env"])
    claim(env["PATH"].startswith("/opt/ovis/bin:/opt/ovis/sbin:"), f"{image.name}'s PATH")
    for name in ("PYTHONPATH", "LDMSD_PLUGIN_LIBPATH", "ZAP_LIBPATH"):
        claim(env[name].startswith("/opt/ovis/lib/"), f"{image.name}'s {name}")
    users = [line.split(":") for line in image.files["etc/passwd"][1].decode().splitlines()]
    ids = [(int(user[2]), int(user[3])) for user in users if user[0] == "munge"]
    claim(ids == [munge], f"munge in {image.name} is {munge}, not {ids}")
    if entry:
        key, held = image.files["etc/munge/munge.key"]
        claim(held == bytes(4096), f"{image.name}'s key is 4096 zero bytes")
        claim((key.uid, key.gid, key.mode) == (*munge, 0o600), f"{image.name}'s key is munge's")


def main():
    (out,) = sys.argv[1:]
    images = [Image(out, name) for name in IMAGES]
    for image in images:
        check_image(image)
    ours = [image for image in images if image.name != "grafana"]
    bases = {image.diff_ids[0] for image in ours}
    claim(len(bases) == 1, "all but grafana share their base")
    rest = [diff_id for image in images for diff_id in image.diff_ids if diff_id not in bases]
    claim(len(rest) == len(set(rest)), "no other layer is shared")
    held = {digest(image.files[RECURRING][1]) for image in ours}
    times = {image.files[RECURRING][0].mtime for image in ours}
    size = ours[0].files[RECURRING][0].size
    claim(len(held) == 1 and size > 1 << 20, f"{RECURRING} recurs and is above 1 MiB")
    claim(len(times) == len(ours), f"{RECURRING} has a time of its own in each image")
    whiteouts = {name for image in images for name in image.whiteouts}
    claim(whiteouts == {"etc/.wh.motd", "opt/ovis/etc/ldms/.wh..wh..opq"}, "two kinds of whiteout")
    check_layout(out, images)


main()
