"""TLS between client, scheduler and workers: both sides show a certificate that one authority has signed."""

import ssl
from pathlib import Path

from distributed import Security

from churn.config.cluster import ClusterSettings
from churn.core.errors import ConfigError

_HOW = "give certificates and key in PEM, the key without a passphrase"


def address_security(settings: ClusterSettings) -> Security | None:
    """Return what a client shows to the scheduler at the settings' address; None without TLS.

    Raises:
        ConfigError: address and certificates do not go together, or a file cannot be read or used.
    """
    encrypted = str(settings.address).startswith("tls://")
    if settings.tls_ca is None or settings.tls_cert is None or settings.tls_key is None:
        if encrypted:
            raise ConfigError(
                f"cluster.address {settings.address} speaks TLS: give tls_ca, tls_cert and tls_key too"
            )
        return None
    if not encrypted:
        raise ConfigError(
            f"cluster.tls_ca is given, but cluster.address {settings.address} does not speak TLS: give "
            "tls://host:port, or leave the certificates out"
        )
    return load_security(*(_read(path) for path in (settings.tls_ca, settings.tls_cert, settings.tls_key)))


def load_security(ca: str, cert: str, key: str) -> Security:
    """Return TLS for the client and, as the same authority stands for all, for everybody else.

    Args:
        ca: certificate of the authority, in PEM.
        cert: a certificate that it has signed, in PEM.
        key: that one's private key, in PEM.

    Raises:
        ConfigError: they cannot be used, or key and certificate are not a pair.
    """
    ca, cert, key = (f"{text.strip()}\n" for text in (ca, cert, key))  # Dask knows PEM by its line ends
    security = Security(
        require_encryption=True,
        tls_ca_file=ca,
        **{f"tls_{role}_cert": cert for role in ("client", "scheduler", "worker")},
        **{f"tls_{role}_key": key for role in ("client", "scheduler", "worker")},
    )
    try:
        security.get_connection_args("client")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates or the key for TLS cannot be used ({_reason(error)}): {_HOW}"
        ) from None
    return security


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or type(error).__name__


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no PEM file"
        raise ConfigError(f"{path} cannot be read ({reason}): {_HOW}") from None
