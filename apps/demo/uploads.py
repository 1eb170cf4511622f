"""Pictures that visitors send: checked, renamed, stored."""

import os
import uuid
from pathlib import Path

from py4web import request

from .common import UPLOADS, db
from .pictures import NotAPicture, picture_suffix

MAX_FILES = 10
MAX_MEGABYTES = 5
MAX_STORED = 500


class Refused(ValueError):
    """The upload is not accepted; the message is for the visitor."""


def store_uploads(field: str) -> list[str]:
    """Store the request's pictures, all or none; returns their new names."""
    files = request.files.get(field) or []
    files = files if isinstance(files, list) else [files]
    if not 0 < len(files) <= MAX_FILES:
        raise Refused(f"Choose between 1 and {MAX_FILES} pictures.")
    if db(db.picture).count() + len(files) > MAX_STORED:
        raise Refused(f"There is room for {MAX_STORED} pictures only.")
    names = [new_name(file) for file in files]
    for file, name in zip(files, names, strict=True):
        file.save(str(UPLOADS / name))
        db.picture.insert(filename=name, title=Path(file.raw_filename).name[:120])
    return names


def new_name(file) -> str:
    """A name of our own for an uploaded file, once its size and its content are found good."""
    size = file.file.seek(0, os.SEEK_END)
    file.file.seek(0)
    if size > MAX_MEGABYTES * 1_000_000:
        raise Refused(f"{file.raw_filename} is larger than {MAX_MEGABYTES} MB.")
    try:
        suffix = picture_suffix(file.file)
    except NotAPicture as error:
        raise Refused(f"{file.raw_filename}: {error}") from error
    file.file.seek(0)
    return uuid.uuid4().hex + suffix
