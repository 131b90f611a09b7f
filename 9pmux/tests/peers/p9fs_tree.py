"""p9fs_tree.py port dialect aname copy|put|rewrite|remove ...: what tree9p does, by the client of PyPI's p9fs.

It speaks all three dialects, and is the only client of 9P2000.u here that nobody of this project wrote. The
messages are p9fs's. Its own file object is gone round: it writes no last byte of a file, and sends more than fits
the msize where a server leaves the iounit to it.
"""

import os
import sys

from p9fs import P9FileSystem

PIECE = 4096


def copy(files, name, to):
    """Makes the new directory `to` of the server's `name`, and prints what the server says of each file."""
    os.mkdir(to)
    for file in sorted(files.ls(name), key=lambda file: file["name"]):
        path = file["name"].strip("/")
        here = os.path.join(to, os.path.basename(path))
        # the time of the last access is left out: it is that of who has read it before
        print(path, file["type"], oct(file["mode"]), file["size"], file["mtime"])
        if file["type"] == "directory":
            copy(files, path, here)
            continue
        opened = files._open_fid(path, os.O_RDONLY)
        with open(here, "wb") as out:
            while piece := files.client._read(opened.fid, out.tell(), 1 << 20).data:
                out.write(piece)
        files._release_fid(opened)


def put(files, directory, name):
    """Makes the server's new directory `name` of `directory`."""
    files._mkdir(name)
    for entry in os.scandir(directory):
        path = name + "/" + entry.name
        if entry.is_dir():
            put(files, entry.path, path)
            continue
        files._mknod(path, 0o644)
        opened = files._open_fid(path, os.O_WRONLY)
        with open(entry.path, "rb") as content:
            offset = 0
            while piece := content.read(PIECE):
                wrote = files.client._write(opened.fid, offset, piece).count
                assert wrote == len(piece), f"{path}: {wrote} bytes written of {len(piece)}"
                offset += wrote
        files._release_fid(opened)


def rewrite(files, source, name, stop):
    """Writes the bytes of the file `source` to the server's `name` again and again, until there is a file `stop`."""
    opened = files._open_fid(name, os.O_WRONLY)
    with open(source, "rb") as content:
        pieces = list(iter(lambda: content.read(PIECE), b""))
    count = 0
    while not os.path.exists(stop):
        for n, piece in enumerate(pieces):
            assert files.client._write(opened.fid, n * PIECE, piece).count == len(piece)
            count += 1
    files._release_fid(opened)
    print(count, "writes")


def remove(files, name):
    """Removes the server's `name`, and all that is in it."""
    if files.isdir(name):
        for file in files.ls(name):
            remove(files, file["name"].strip("/"))
    files._unlink(name)


def main():
    port, dialect, aname, command, *names = sys.argv[1:]
    files = P9FileSystem("127.0.0.1", int(port), "root", version=dialect, aname=aname)
    {"copy": copy, "put": put, "rewrite": rewrite, "remove": remove}[command](files, *names)


main()
