"""Certificates for TLS in tests: an authority, and who it vouches for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM, with the certificate of the authority that signed it."""

    ca: str
    cert: str
    key: str

    def write(self, folder: Path) -> dict[str, Path]:
        """Write three files; return them by the settings' names."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {"tls_ca": "ca.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"}
        for (_, name), text in zip(files.items(), (self.ca, self.cert, self.key), strict=True):
            (folder / name).write_text(text)
        return {setting: folder / name for setting, name in files.items()}


def issue(days: float = 1.0) -> Pair:
    """Make an authority of its own and a certificate that it signs, valid for so many days (negative: expired)."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _sign("test authority", ca_key, "test authority", ca_key, 1.0, authority=True)
    cert = _sign("churn", key, "test authority", ca_key, days, authority=False)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(ca.public_bytes(pem).decode(), cert.public_bytes(pem).decode(), secret.decode())


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: float,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=7))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
