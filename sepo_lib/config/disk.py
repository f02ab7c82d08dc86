"""What a full disk, a read-only folder or a missing permission means, in one sentence with the next step."""

import contextlib
import errno
import os
import re
import shutil
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from sepo_lib.config.errors import Explained, StorageError
from sepo_lib.config.root import shown

_AGAIN = "run the same command again"
_SPACE = f"free some space and {_AGAIN}; nothing was deleted"
#: Error number -> what is wrong with the file {0}, and what to do.
_SENTENCES = {
    errno.ENOSPC: "No space is left on the disk of {0}{free}: " + _SPACE,
    errno.EDQUOT: "The disk quota is used up, so {0} cannot be written; " + _SPACE,
    errno.EFBIG: "{0} would become larger than this system allows (see `ulimit -f`); raise the limit and "
    + _AGAIN,
    errno.EROFS: "{0} cannot be written, because its disk is read-only; make it writable and " + _AGAIN,
    errno.EACCES: "There is no permission to use {0}; change the permissions or the owner and " + _AGAIN,
    errno.EPERM: "There is no permission to change {0}; change the permissions or the owner and " + _AGAIN,
    errno.EISDIR: "{0} is a folder, but must be a file; move the folder away and " + _AGAIN,
    errno.ENOTDIR: "A folder on the path {0} is a file; move that file away and " + _AGAIN,
    errno.EEXIST: "{0} is a file, but must be a folder; move the file away and " + _AGAIN,
    errno.EIO: "The disk reports an error for {0}; check the disk, then " + _AGAIN,
    errno.ESTALE: "The network disk has lost {0}; mount it again, then " + _AGAIN,
    errno.EMFILE: "Too many files are open to open {0}; raise the limit (`ulimit -n 4096`) and " + _AGAIN,
    errno.ENAMETOOLONG: "The name {0} is too long for this disk; move the kit to a shorter path",
    errno.ENOENT: "{0} does not exist; check the path, or restore the file with git if git holds it",
    errno.ENOMEM: "The memory does not suffice to use {0}; end other programs and " + _AGAIN,
}
#: Errors of the disk itself. A library may raise an error of its own because of one.
_CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
#: Errors that say enough if no file is known.
_ANYWHERE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM)
#: How safetensors, shutil and torch report one. torch gives no number; the disk counts as full then.
_FOREIGN = re.compile(
    r"(?:\(os error |\[Errno )(\d+)[)\]]|inline_container\.cc.*(?:failed writing|unexpected pos)"
)


def explain(error: BaseException, otherwise: Path | None = None) -> str | None:
    """The sentence for an error of the disk; None for any other error, and for one that explains itself.

    `otherwise` is the file or folder that was used, for errors that name none.
    """
    if "No usable temporary directory" in str(error):
        return f"No folder for temporary files can be written; set TMPDIR to one with space, and {_AGAIN}."
    number, cause = _number(error)
    named = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
    # A number in the place of a name is an open file.
    path = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else otherwise
    return _sentence(number, path)


def in_one_line(error: BaseException, otherwise: Path | None = None) -> str:
    """An error as one line: its sentence if it has one (`explain`), else its type and the end of its text."""
    if isinstance(error, Explained):
        return " ".join(str(error).split())
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
    return explain(error, otherwise) or last


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this context an error of the disk becomes a StorageError that names `path`."""
    try:
        yield
    except Explained:
        raise
    except Exception as error:
        number, _ = _number(error)
        if sentence := _sentence(number, path):
            raise StorageError(sentence) from error
        raise


def check_writable(folders: Iterable[Path]) -> None:
    """Raise StorageError for the first folder that cannot be written or made."""
    for folder in folders:
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        with writing(folder):
            if not there.is_dir():
                raise FileExistsError(errno.EEXIST, "")
            if not os.access(there, os.W_OK | os.X_OK):
                read_only = os.statvfs(there).f_flag & os.ST_RDONLY
                raise OSError(errno.EROFS if read_only else errno.EACCES, "")


def _number(error: BaseException) -> tuple[int | None, BaseException]:
    """The number of the system's error behind `error`, and the error that has it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error
    one: BaseException | None = error
    while one is not None:
        found = _FOREIGN.search(str(one))
        if found and (number := int(found[1] or errno.ENOSPC)) in _CAUSES:
            return number, one
        if isinstance(one, OSError) and one.errno in _CAUSES:
            return one.errno, one
        one = one.__cause__ or one.__context__
    return None, error


def _sentence(number: int | None, path: Path | None) -> str | None:
    if number not in _SENTENCES or (path is None and number not in _ANYWHERE):
        return None
    where = "this machine" if path is None else shown(path)
    return _SENTENCES[number].format(where, free=_free(path)) + "."


def _free(path: Path | None) -> str:
    """How much space the disk of `path` has, in brackets."""
    for folder in () if path is None else path.absolute().parents:
        with contextlib.suppress(OSError):
            return f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free; more is needed)"
    return ""
