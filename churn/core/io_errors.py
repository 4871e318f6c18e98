"""Errors of disks and object stores, in sentences that say what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from churn.core.errors import RunError

_DISK_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder, and run again",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder, and run again",
    errno.EFBIG: "a file grew past the allowed size: raise the limit (ulimit -f), and run again",
    errno.EROFS: "the disk is read-only: choose another folder",
}
_ADVICE = _DISK_ADVICE | {
    errno.EACCES: "permission denied: check the folder's owner and mode, or choose another folder",
    errno.EPERM: "not permitted: check the folder's owner and mode, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder should be: remove it, or choose another folder",
}


@contextmanager
def storage_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an error of the disk or the store into a RunError that says what to do.

    Args:
        doing: what was tried, such as ``writing the model``.
        where: the path or address.
    """
    try:
        yield
    except OSError as error:
        raise as_run_error(error, doing, where) from error
    except Exception as error:
        # botocore's errors are not OSErrors, and churn does not import botocore: compare by module.
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore"):
            raise
        raise RunError(
            f"{doing} at {where} failed: {error}: {_store_advice(error)}, and run again"
        ) from error


def _store_advice(error: Exception) -> str:
    """Return what to do about an error of botocore, by the name of its type."""
    kind = type(error).__name__
    if "Credential" in kind or "Profile" in kind or "Token" in kind:
        return "give this process a role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
    if "Region" in kind:
        return "set store.region, AWS_REGION or AWS_DEFAULT_REGION"
    if "Connect" in kind or "Timeout" in kind or "HTTP" in kind:
        return "check the network (route, proxy or VPC endpoint), store.endpoint_url and the region"
    return "check the bucket, the rights of this process's role on it, and the settings under store"


def as_run_error(error: OSError, doing: str, where: str) -> RunError:
    """Return a RunError that explains ``error``; arguments as in ``storage_errors``."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(
        error.errno or 0,
        f"{reason}: check that the disk or store is healthy and can be reached, and run again",
    )
    if isinstance(error, FileNotFoundError):
        advice = f"{reason}: check that the folder or bucket (store.lake) exists, and run again"
    if isinstance(error, PermissionError) and error.errno is None:  # from an object store
        advice = f"{reason}: check the role's rights on the bucket and its key, and run again"
    return RunError(f"{doing} at {where} failed: {advice}")


def disk_advice(error: BaseException | None) -> str | None:
    """Return what to do about a disk that is full, over quota or read-only; None for any other error."""
    return _DISK_ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
