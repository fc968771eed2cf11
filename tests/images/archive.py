#!/usr/bin/python3
"""From one OCI layout to what `docker save` writes: archive.py LAYOUT OUT.

Names the images in the layout's index as a registry would (`ovishpc/ldms-samp:latest`), and writes an
archive per image in the shape of docker 25 and later: an OCI layout with plain layers, and the older
manifest.json over the same files, which every docker and podman loads. skopeo could write archives
too, but only in the older shape, and with names that docker does not write.
"""

import gzip
import hashlib
import json
import os
import shutil
import sys
import tarfile

REF = "org.opencontainers.image.ref.name"
NAME = "ovishpc/ldms-{}"


def blob(layout, digest):
    """Where a blob lies."""
    algorithm, value = digest.split(":")
    return os.path.join(layout, "blobs", algorithm, value)


def load(path):
    """A JSON file's content."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def dump(value):
    """JSON as bytes."""
    return json.dumps(value, separators=(",", ":")).encode()


def keep(stage, data):
    """Puts bytes into the archive's blobs; a descriptor's digest and size."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with open(blob(stage, digest), "wb") as file:
        file.write(data)
    return {"digest": digest, "size": len(data)}


def inflate(layout, digest, stage):
    """Puts a layer into the archive's blobs, uncompressed."""
    part = os.path.join(stage, "part")
    counted = hashlib.sha256()
    with gzip.open(blob(layout, digest)) as source, open(part, "wb") as target:
        while data := source.read(1 << 20):
            counted.update(data)
            target.write(data)
    found = "sha256:" + counted.hexdigest()
    os.replace(part, blob(stage, found))
    return found


def save(layout, descriptor, name, out):
    """Writes one image's archive."""
    stage = out + ".stage"
    os.makedirs(os.path.join(stage, "blobs", "sha256"))
    manifest = load(blob(layout, descriptor["digest"]))
    config = manifest["config"]["digest"]
    shutil.copyfile(blob(layout, config), blob(stage, config))
    diff_ids = load(blob(layout, config))["rootfs"]["diff_ids"]
    layers = []
    for diff_id, layer in zip(diff_ids, manifest["layers"], strict=True):
        if inflate(layout, layer["digest"], stage) != diff_id:
            sys.exit(f"archive.py: {name}: layer {layer['digest']} is not {diff_id}")
        size = os.path.getsize(blob(stage, diff_id))
        media = "application/vnd.oci.image.layer.v1.tar"
        layers.append({"mediaType": media, "digest": diff_id, "size": size})
    manifest["layers"] = layers
    media = "application/vnd.oci.image.manifest.v1+json"
    described = {"mediaType": media, **keep(stage, dump({**manifest, "mediaType": media}))}
    described["annotations"] = {"io.containerd.image.name": f"docker.io/{name}:latest", REF: "latest"}
    media = "application/vnd.oci.image.index.v1+json"
    texts = {
        "index.json": {"schemaVersion": 2, "mediaType": media, "manifests": [described]},
        "manifest.json": [
            {
                "Config": blob("", config),
                "RepoTags": [f"{name}:latest"],
                "Layers": [blob("", layer["digest"]) for layer in layers],
                "LayerSources": {layer["digest"]: layer for layer in layers},
            }
        ],
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "repositories": {name: {"latest": diff_ids[-1].split(":")[1]}},
    }
    for member, value in texts.items():
        with open(os.path.join(stage, member), "wb") as file:
            file.write(dump(value))
    with tarfile.open(out, "w") as tar:
        for member in ["blobs", *texts]:
            tar.add(os.path.join(stage, member), member, filter=plain)
    shutil.rmtree(stage)


def plain(member):
    """A member as docker writes it, whoever runs this."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def main():
    layout, out = sys.argv[1:]
    index_path = os.path.join(layout, "index.json")
    index = load(index_path)
    for descriptor in index["manifests"]:
        image = descriptor["annotations"][REF]
        name = NAME.format(image)
        print(f"archive.py: {name}", flush=True)
        save(layout, descriptor, name, os.path.join(out, f"ovishpc-ldms-{image}.tar"))
        descriptor["annotations"][REF] = f"{name}:latest"
        descriptor["platform"] = {
            key: load(blob(layout, load(blob(layout, descriptor["digest"]))["config"]["digest"]))[key]
            for key in ("os", "architecture")
        }
    with open(index_path, "wb") as file:
        file.write(dump(index))


main()
