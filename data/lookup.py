"""Files that a scene's JSON names, found below its folder.

Names may lack their suffix, as Blender's do. A name that no file has exactly is looked for without regard to
case and Unicode normalisation: folders are copied between systems that disagree on both.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from pathlib import Path, PureWindowsPath

from polyfield.data.records import Record
from polyfield.errors import shown

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")
TRIED = ", ".join(dict.fromkeys(suffix.lower() for suffix in SUFFIXES[1:]))  # for messages


class Folder:
    """A scene's folder, and the names that differ from those in its JSON."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.other: dict[str, str] = {}  # name in the JSON -> name on disk, where they differ
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, record: Record, key: str) -> tuple[str, Path | None]:
        """Return the normalised name that a record gives, with its suffix, and its file or None.

        Raises PolyfieldError for a path that points outside of the folder.
        """
        text = record.text(key)
        if text is None:
            raise record.fail(key, "is missing; expected a path inside the scene's folder")
        name = posixpath.normpath(text.replace("\\", "/"))
        if name.startswith("/") or PureWindowsPath(name).drive:
            raise record.fail(key, f"{text!r:.200} is absolute; expected a path inside the scene's folder")
        if name.split("/")[0] == "..":
            raise record.fail(
                key, f"{text!r:.200} leaves the scene's folder {shown(self.root)}; move the file inside"
            )
        for suffix in SUFFIXES:
            path = self.root / (name + suffix)
            if os.path.isfile(path):  # Path.is_file raises for names that are too long
                self.refuse_link_out(record, key, path)
                return name + suffix, path
        for suffix in SUFFIXES:
            if (found := self._alike(name + suffix)) is not None:
                self.refuse_link_out(record, key, found)
                self.other[name + suffix] = found.relative_to(self.root).as_posix()
                return name + suffix, found
        return name, None

    def refuse_link_out(self, record: Record, key: str, path: Path) -> None:
        """Raise PolyfieldError for a link to a file outside of the folder."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            name = path.relative_to(self.root).as_posix()
            raise record.fail(
                key, f"{name!r} is a link to a file outside the scene's folder; copy the file into it"
            )

    def _alike(self, name: str) -> Path | None:
        """Return the one file whose path differs from a name by case or Unicode normalisation alone."""
        path = self.root
        for part in name.split("/"):
            known = self._entries(path).get(_plain(part), [])
            if len(known) != 1:
                return None
            path = path / known[0]
        return path if path.is_file() else None

    def _entries(self, folder: Path) -> dict[str, list[str]]:
        """Return a folder's entries by their plain names."""
        if folder not in self._listed:
            entries = self._listed[folder] = {}
            try:
                for name in os.listdir(folder):
                    entries.setdefault(_plain(name), []).append(name)
            except OSError:  # not a folder
                pass
        return self._listed[folder]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
