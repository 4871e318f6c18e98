"""Errors of the operating system and of object stores, in sentences that say what to do."""

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
    """Turn an error of the operating system or the store into a RunError that says what to do about it."""
    try:
        yield
    except OSError as error:
        raise as_run_error(error, doing, where) from error
    except Exception as error:
        # botocore's are no OSErrors (no credentials, no connection), and the domain does not import it.
        if type(error).__module__.partition(".")[0] not in ("botocore", "aiobotocore"):
            raise
        raise RunError(
            f"{doing} at {where} failed: {error}: {_store_advice(error)}, and run again"
        ) from error


def _store_advice(error: Exception) -> str:
    """Return what to do about an error of AWS' library, by the name of its type."""
    kind = type(error).__name__
    if "Credential" in kind or "Profile" in kind or "Token" in kind:
        return "give this process a role, a profile (AWS_PROFILE) or the block prefect.aws_credentials"
    if "Region" in kind:
        return "set store.region, AWS_REGION or AWS_DEFAULT_REGION"
    if "Connect" in kind or "Timeout" in kind or "HTTP" in kind:
        return "check the network (route, proxy or VPC endpoint), store.endpoint_url and the region"
    return "check the bucket, the rights of this process's role on it, and the settings under store"


def as_run_error(error: OSError, doing: str, where: str) -> RunError:
    """Return the RunError that explains ``error``, which happened while ``doing`` something at ``where``."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(
        error.errno or 0, f"{reason}: look whether what it names is there, healthy and reached, and run again"
    )
    if isinstance(error, FileNotFoundError):
        advice = (
            f"{reason}: check that the folder or bucket is there and spelled as in store.lake, and run again"
        )
    if isinstance(error, PermissionError) and error.errno is None:  # a store's
        advice = f"{reason}: check what the role may do with the bucket and its key, and run again"
    return RunError(f"{doing} at {where} failed: {advice}")


def disk_advice(error: BaseException | None) -> str | None:
    """Return what to do where a disk takes no more (full, quota, size limit, read-only); None: it does."""
    return _DISK_ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
